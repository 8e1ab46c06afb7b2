"""A candidate becomes a version: compared with the served model, judged by the gate, published."""
