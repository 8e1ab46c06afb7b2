"""How Airflow's parts hold on to their database: a server that vanished is noticed in seconds, not in quarter hours.

When PostgreSQL's pod is replaced, its old address answers nothing any more, not even with a refusal: whoever waits for a
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
"""For psycopg2, in seconds where nothing else is said."""

CONNECT_ASYNC = {"timeout": 10, "command_timeout": 30}
"""For asyncpg, in seconds."""
