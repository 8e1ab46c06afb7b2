"""Airflow: the operator, the links, the liveness probe, and the image's home and DAGs."""
