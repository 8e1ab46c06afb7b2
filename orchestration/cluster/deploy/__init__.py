"""The whole loop on a cluster: what `make deploy`, `make doctor` and their like run."""
