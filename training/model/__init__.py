"""A network and its training, from parameters to the exported SavedModel."""
