"""Airflow: the operator, the links, the probe, and the image's home and DAGs."""
