"""Datasets: ingest, shards, the schema, DVC, validation."""
