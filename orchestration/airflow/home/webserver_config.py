"""The log-in to Airflow: with a name and a password from its database. docs/airflow.md shows OIDC."""

from flask_appbuilder.const import AUTH_DB

AUTH_TYPE = AUTH_DB
WTF_CSRF_ENABLED = True
# The limit is ten wrong passwords a minute. One process answers, so it needs no shared store.
RATELIMIT_STORAGE_URI = "memory://"
