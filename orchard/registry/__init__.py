"""The registry of models: versions, channels with their history, leases and pruning."""
