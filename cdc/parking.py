"""What people do with parked keys: list, replay, discard. Safe beside the running stream: both lock its row."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from cdc.apply import parked
from cdc.apply.parked import ParkedKey
from cdc.apply.route import DomainMapping, key_text, routes
from cdc.apply.session import become_applier, connect, translated_errors
from cdc.apply.state import read_state
from cdc.apply.writer import Writer
from cdc.config import Stream, dsn
from cdc.errors import ConfigError, NotPrepared
from cdc.prepare import create_origin


def listed(stream: Stream) -> list[ParkedKey]:
    """Raises: Transient, NotPrepared."""
    with connect(dsn(stream.target_dsn_env), f"banyan-cdc {stream.name} parked") as target, _locked(target, stream):
        return parked.parked_keys(target, stream.name)


def replay(stream: Stream, mapping: DomainMapping, table: str | None = None, key: str | None = None) -> tuple[int, int]:
    """(keys freed, keys still parked). Each key is a transaction of its own.

    The stream's origin belongs to its running process; a replay has one of its own for as long as it takes (any
    origin keeps the other direction from capturing what is written).
    """
    origin = f"{stream.origin[:56]}_replay"
    wanted = _key(key) if key is not None else None
    freed = left = 0
    with connect(dsn(stream.target_dsn_env), f"banyan-cdc {stream.name} replay") as target, translated_errors():
        with _locked(target, stream):
            keys = sorted(parked.load_keys(target, stream.name))
        create_origin(target, origin)
        become_applier(target, origin)
        try:
            writer = Writer(target, stream.name, routes(mapping, stream.direction))
            for found in keys:
                if (table is not None and found[0] != table) or (wanted is not None and found[1] != wanted):
                    continue
                with _locked(target, stream):
                    waiting = writer.replay(found)
                freed, left = freed + (waiting == 0), left + (waiting > 0)
        finally:
            if not target.closed:
                target.execute("SELECT pg_replication_origin_session_reset()")
                target.execute("SELECT pg_replication_origin_drop(%s)", [origin])
    return freed, left


def discard(stream: Stream, table: str, key: str) -> int:
    """Raises: ConfigError when nothing is parked there."""
    with connect(dsn(stream.target_dsn_env), f"banyan-cdc {stream.name} parked") as target, _locked(target, stream):
        changes = parked.discard(target, stream.name, (table, _key(key)))
    if not changes:
        raise ConfigError(f"nothing is parked for {table} {key}: see `parked list`")
    return changes


@contextmanager
def _locked(target: psycopg.Connection[Any], stream: Stream) -> Iterator[None]:
    with translated_errors():
        target.execute("BEGIN")
        try:
            if read_state(target, stream.name, lock=True) is None:
                raise NotPrepared(f"stream {stream.name} is not prepared in the target: run prepare")
            yield
        except BaseException:
            if not target.closed:
                target.execute("ROLLBACK")
            raise
        target.execute("COMMIT")


def _key(text: str) -> str:
    try:
        key = json.loads(text)
    except json.JSONDecodeError as e:
        raise ConfigError(f'key {text!r} is not a JSON list such as "[5]"') from e
    return key_text(key if isinstance(key, list) else [key])
