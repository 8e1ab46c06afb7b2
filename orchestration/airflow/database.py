"""How Airflow's parts connect to their database: they notice a server that vanished in seconds, not in quarter hours.

When PostgreSQL's pod is replaced, its old address sends nothing any more, not even a refusal: a client that waits for a
reply then waits until the kernel gives up.
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
