"""TensorFlow as the server uses it: the C API, tensors, sessions."""
