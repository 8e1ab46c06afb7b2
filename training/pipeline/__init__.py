"""A verb as a step of a run: downloads its inputs to an empty folder, runs it, uploads its outputs."""
