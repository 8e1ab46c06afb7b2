"""A project of one's own: what `orchard init` writes, derived from this program's own params.yaml, dvc.yaml and schema."""
