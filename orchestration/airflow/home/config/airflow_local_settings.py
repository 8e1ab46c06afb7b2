"""Loads what the scheduler's tasks import, once, before it forks their processes. Airflow runs this at each part's start.

The import takes one to three seconds; each task would need it at its start and again after its pod's end. The triggerer is
one process that imports it once anyway, and the other parts never need it.
"""

import sys

if "scheduler" in sys.argv:
    import airflow.providers.cncf.kubernetes.operators.pod  # noqa: F401
