"""Runs: the table of steps, what each run is about and how its steps ended, and summaries of all runs."""
