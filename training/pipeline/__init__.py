"""A verb as a step of a run: what it needs is brought to an empty folder, and what it leaves goes to the store."""
