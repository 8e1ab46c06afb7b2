"""The evaluation of a SavedModel on every test photo, and its report for people and programs."""
