"""The whole loop on one machine: what `make demo` runs."""
