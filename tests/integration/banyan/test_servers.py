"""The embedded servers start, answer and say clearly what is missing."""

import psycopg
import pytest
import redis

from banyan.errors import PortInUse, ServerMissing, ServerTooOld
from banyan.servers import Postgres, Redis
from banyan.servers.ports import require_free
from banyan.servers.postgres import find_binaries


def test_postgres_speaks_logical_replication(database: str):
    with psycopg.connect(database) as connection:
        assert connection.execute("show wal_level").fetchone() == ("logical",)


def test_a_wrong_password_is_refused(postgres: Postgres):
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(postgres.dsn(password="wrong"))


def test_redis_wants_its_password(redis_server: Redis):
    assert redis.Redis.from_url(redis_server.url).ping()
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=redis_server.port).ping()


def test_a_missing_server_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("BANYAN_PG_BIN", str(tmp_path))
    with pytest.raises(ServerMissing, match="BANYAN_PG_BIN"):
        find_binaries()


def test_a_postgres_before_16_is_refused(monkeypatch, tmp_path):
    for name in ("postgres", "initdb"):
        (tmp_path / name).write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 15.4'\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("BANYAN_PG_BIN", str(tmp_path))
    with pytest.raises(ServerTooOld, match="needs 16"):
        find_binaries()


def test_a_port_in_use_is_named(redis_server: Redis):
    with pytest.raises(PortInUse, match=str(redis_server.port)):
        require_free(redis_server.port, "redis")
