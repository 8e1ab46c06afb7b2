"""Airflow's connections to its database: they detect a lost server within seconds instead of a quarter of an hour.

When PostgreSQL's pod is replaced, its old address sends nothing, not even a refusal. A client that waits for a reply would
wait until the kernel gives up.
"""

__all__ = ["CONNECT", "CONNECT_ASYNC"]

CONNECT = {
    "connect_timeout": 10,
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,  # milliseconds
}
"""For psycopg2, in seconds unless noted."""

CONNECT_ASYNC = {"timeout": 10, "command_timeout": 30}
"""For asyncpg, in seconds."""
