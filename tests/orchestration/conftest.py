"""What of this folder is not for this environment."""

collect_ignore = ["airflow"]  # `make pytest` runs it with .venv-airflow
