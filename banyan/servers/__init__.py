"""The embedded servers: PostgreSQL and Redis as child processes on loopback."""

from banyan.servers.postgres import Postgres
from banyan.servers.redis import Redis

__all__ = ["Postgres", "Redis"]
