"""Run when a part of Airflow starts: what the scheduler's tasks need is loaded once, before it forks their processes.

It takes one to three seconds, which each task would pay when it starts and again when its pod has ended. The triggerer is
one process that loads it once anyway, and the other parts never need it.
"""

import sys

if "scheduler" in sys.argv:
    import airflow.providers.cncf.kubernetes.operators.pod  # noqa: F401
