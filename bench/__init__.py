"""Benchmarks: ratios measured side by side. `python -m bench.<name> --help`."""
