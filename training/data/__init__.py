"""Photos in: ingest, shards, the schema, DVC, validation."""
