"""What a model is worth: a SavedModel asked about every test photo, and the report that people and programs read."""
