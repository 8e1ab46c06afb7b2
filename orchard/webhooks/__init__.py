"""Webhooks: what happened to a model's channels and runs, as signed HTTP POSTs, at least once, in order, recorded.

Events are derived from what the store keeps anyway: the history of the channels, refused steps and failures of runs. So
nobody has to be alive when something happens, and no program that promotes or trains knows of receivers (docs/webhooks.md,
ADR 0025).
"""
