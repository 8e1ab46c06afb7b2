"""Runs: the table of steps, the records of runs and steps, and summaries of all runs."""
