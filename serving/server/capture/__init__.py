"""Capture: a sampled share of the photos and their predictions, written to the store after the reply."""
