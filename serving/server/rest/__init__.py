"""TF Serving's REST bodies: requests as tensors, tensors as answers."""
