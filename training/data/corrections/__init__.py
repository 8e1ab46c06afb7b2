"""Corrections of a dataset: other labels, removed photos. Old shards stay as they are; new ones replace them."""
