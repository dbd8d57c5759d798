"""What people do with parked keys: list, replay, discard. Safe beside the running stream: both lock its row."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from cdc.apply import parked
from cdc.apply.owned import bucket_key, require_source_owns
from cdc.apply.parked import Key, ParkedKey
from cdc.apply.route import DomainMapping, Routes, key_text, routes
from cdc.apply.session import become_applier, connect, translated_errors
from cdc.apply.state import read_state
from cdc.apply.writer import Writer
from cdc.config import Stream, dsn
from cdc.errors import ConfigError, NotPrepared, TargetOwns
from cdc.prepare import create_origin


def listed(stream: Stream) -> list[ParkedKey]:
    """Raises: Transient, NotPrepared."""
    with connect(dsn(stream.target_dsn_env), f"banyan-cdc {stream.name} parked") as target, _locked(target, stream):
        return parked.parked_keys(target, stream.name)


def replay(stream: Stream, mapping: DomainMapping, table: str | None = None, key: str | None = None) -> tuple[int, int]:
    """(keys freed, keys still parked). Each key is a transaction of its own.

    A key whose wave the target owns stays parked: what waits is older than what the owner has accepted since.

    The stream's origin belongs to its running process; a replay has one of its own for as long as it takes (any
    origin keeps the other direction from capturing what is written).

    Raises: TargetOwns, after all other keys were tried.
    """
    origin = f"{stream.origin[:56]}_replay"
    wanted = _key(key) if key is not None else None
    freed = left = 0
    owned: list[Key] = []
    held = ""
    with connect(dsn(stream.target_dsn_env), f"banyan-cdc {stream.name} replay") as target, translated_errors():
        with _locked(target, stream):
            keys = sorted(parked.load_keys(target, stream.name))
        create_origin(target, origin)
        become_applier(target, origin)
        try:
            to = routes(mapping, stream.direction)
            writer = Writer(target, stream.name, to)
            for found in keys:
                if (table is not None and found[0] != table) or (wanted is not None and found[1] != wanted):
                    continue
                try:
                    with _locked(target, stream):
                        _require_source_owns(target, stream, to, found)
                        waiting = writer.replay(found)
                except TargetOwns as e:
                    owned.append(found)
                    held = str(e)
                    continue
                freed, left = freed + (waiting == 0), left + (waiting > 0)
        finally:
            if not target.closed:
                target.execute("SELECT pg_replication_origin_session_reset()")
                target.execute("SELECT pg_replication_origin_drop(%s)", [origin])
    if owned:
        table, key = owned[0]
        raise TargetOwns(
            f"{len(owned)} keys may not be replayed, first {table} {key}: {held}, so the target's rows are newer than"
            f" what waits; give it up with `parked discard --table {table} --key '{key}'`"
            f" ({freed} keys free, {left} still parked besides)"
        )
    return freed, left


def discard(stream: Stream, table: str, key: str) -> int:
    """Raises: ConfigError when nothing is parked there."""
    with connect(dsn(stream.target_dsn_env), f"banyan-cdc {stream.name} parked") as target, _locked(target, stream):
        changes = parked.discard(target, stream.name, (table, _key(key)))
    if not changes:
        raise ConfigError(f"nothing is parked for {table} {key}: see `parked list`")
    return changes


def _require_source_owns(target: psycopg.Connection[Any], stream: Stream, to: Routes, key: Key) -> None:
    route = to.by_source.get(key[0])
    if route is not None and route.changes_hands:
        changes = [item.change for item in parked.queue(target, stream.name, key)]
        require_source_owns(target, stream.domain, stream.direction, bucket_key(route, changes))


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
