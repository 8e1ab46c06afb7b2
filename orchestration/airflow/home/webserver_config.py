"""The log-in to Airflow: with a name and a password from its database. docs/airflow.md shows OIDC."""

from flask_appbuilder.const import AUTH_DB

AUTH_TYPE = AUTH_DB
WTF_CSRF_ENABLED = True
RATELIMIT_STORAGE_URI = "memory://"  # the limit of ten wrong passwords a minute; one process answers, so no shared store is needed
