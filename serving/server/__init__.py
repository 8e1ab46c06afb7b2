"""A server of TF Serving's API, for machines that TF Serving has no image for."""
