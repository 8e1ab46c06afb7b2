"""How people log in to Airflow: with a name and a password that the database knows. docs/airflow.md has it for OIDC."""

from flask_appbuilder.const import AUTH_DB

AUTH_TYPE = AUTH_DB
WTF_CSRF_ENABLED = True
RATELIMIT_STORAGE_URI = "memory://"  # one process answers; ten wrong passwords a minute are enough for it
