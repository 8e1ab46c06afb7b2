"""Run when a part of Airflow starts: what its tasks and triggers need is loaded once, before they are forked.

It takes one to three seconds, which each task would pay when it starts and again when its pod has ended. The other parts
never need it.
"""

import sys

if {"scheduler", "triggerer"} & set(sys.argv):
    import airflow.providers.cncf.kubernetes.operators.pod
    import airflow.providers.cncf.kubernetes.triggers.pod  # noqa: F401
