"""Ingest: reads sources, decodes and checks every photo, and writes the accepted ones to shards of a dataset."""
