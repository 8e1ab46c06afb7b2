"""A candidate becomes a version: compared with the served model, checked by the gate, published."""
