"""The embedded servers start, answer and say clearly what is missing."""

import errno
import socket

import psycopg
import pytest
import redis

from banyan.errors import PortDenied, PortInUse, ServerMissing, ServerTooOld
from banyan.servers import Postgres, Redis
from banyan.servers.ports import require_free
from banyan.servers.postgres import find_binaries


def test_postgres_speaks_logical_replication(database: str):
    with psycopg.connect(database) as connection:
        assert connection.execute("show wal_level").fetchone() == ("logical",)


def test_every_domain_finds_room_for_its_slots_and_origins(database: str):
    with psycopg.connect(database) as connection:
        (version,) = connection.execute("SELECT current_setting('server_version_num')::int").fetchone()
        names = ["max_replication_slots", *(["max_active_replication_origins"] if version >= 180000 else [])]
        for name in names:
            assert connection.execute("SELECT current_setting(%s)::int >= 20", [name]).fetchone() == (True,), name


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
    with pytest.raises(PortInUse, match=rf"{redis_server.port} for redis is in use by redis-server \(pid \d+\)"):
        require_free(redis_server.port, "redis")


def test_a_port_that_only_root_may_have_is_told_from_one_in_use(monkeypatch):
    class Socket(socket.socket):
        def bind(self, address: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("banyan.servers.ports.socket.socket", Socket)
    with pytest.raises(PortDenied, match=r"port 80 for gateway is not for this user .*: choose a higher one"):
        require_free(80, "gateway")
