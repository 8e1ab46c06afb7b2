"""TF Serving's API in Python, for machines where its image does not exist."""
