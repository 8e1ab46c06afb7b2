"""The registry of models: versions, channels and their history, leases, prune."""
