"""Asking for a re-snapshot: everything that can be wrong with it is said before anything is written."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from cdc.apply.route import DomainMapping, Route, routes
from cdc.apply.session import connect
from cdc.apply.state import read_state
from cdc.config import Stream
from cdc.errors import ConfigError, NotPrepared, TargetOwns, Transient, first_line
from cdc.kafka.standing import stand
from cdc.snapshot import chunks, requests
from cdc.snapshot.requests import Key, Request, Scope
from cdc.snapshot.strangers import plain_key
from cdc.snapshot.worker import source_session

# Keys named in one request: more are a range.
MAX_KEYS = 10_000
# A process that was put aside, or that ended for its lost slot, is back within so long, seconds.
PATIENCE = 20.0
READ = "SELECT active FROM pg_replication_slots WHERE slot_name = %s"


@dataclass(frozen=True, slots=True)
class Asked:
    """One table; `id` is None when it was only looked at. `rows`: about so many, as the source's planner thinks."""

    table: str
    target: str
    rows: int
    id: int | None = None


def scope_of(first: str | None, last: str | None, keys: str | None) -> Scope:
    """As a person writes it: `5`, or `["a", 5]` for a key of several columns; keys apart by commas, or as a JSON list.

    Raises: ConfigError.
    """
    if keys is not None and (first is not None or last is not None):
        raise ConfigError("--keys names single rows, --from and --to a range: give one of the two")
    if keys is None:
        return Scope(_key(first), _key(last))
    listed = _json_list(keys) if keys.lstrip().startswith("[") else [part.strip() for part in keys.split(",")]
    found = tuple(dict.fromkeys(_parts(item) for item in listed if item != ""))
    if not 0 < len(found) <= MAX_KEYS:
        raise ConfigError(f"--keys takes 1 to {MAX_KEYS} keys, these are {len(found)}: use --from and --to for more")
    return Scope(keys=found)


def _key(text: str | None) -> Key | None:
    if text is None:
        return None
    return _parts(_json_list(text)) if text.lstrip().startswith("[") else (text,)


def _json_list(text: str) -> list[Any]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as e:
        raise ConfigError(f'{text!r} is no JSON list such as [5, 7] or [["a", 5]]') from e
    if not isinstance(found, list):
        raise ConfigError(f"{text!r} is no JSON list")
    return found


def _parts(item: Any) -> Key:
    parts = item if isinstance(item, list) else [item]
    if not parts or not all(isinstance(part, str | int | float) and not isinstance(part, bool) for part in parts):
        raise ConfigError(f"{item!r} is no key: its parts are texts and numbers")
    return tuple(map(str, parts))


def ask(
    stream: Stream,
    mapping: DomainMapping,
    dsns: tuple[str, str],
    tables: Sequence[str],
    scope: Scope = requests.WHOLE,
    *,
    rows_per_s: int | None = None,
    dry_run: bool = False,
) -> list[Asked]:
    """No table means all that the stream carries. The stream's process takes it up when it runs.

    Raises: ConfigError, NotPrepared, TableRefused, TargetOwns, Transient; then nothing was asked for.
    """
    to = routes(mapping, stream.direction)
    known = to.by_source
    wanted = [_known(known, table, stream) for table in dict.fromkeys(tables)] or list(known.values())
    if not scope.whole and len(wanted) != 1:
        raise ConfigError("a range, or keys, are those of one table: name it with --table")
    if rows_per_s is not None and rows_per_s < 1:
        raise ConfigError(f"{rows_per_s} rows/s: use 1 or more")
    with source_session(dsns[0], stream.name) as source, connect(dsns[1], "banyan-cdc ask") as target:
        _require_ready(target, stream, [route for first in wanted for route in to.of_table(first.source)])
        found = [_look(source, route, scope) for route in wanted]
        if dry_run:
            return found
        with target.transaction():
            return [
                Asked(
                    item.table,
                    item.target,
                    item.rows,
                    requests.add(target, stream.name, item.table, scope, expected=item.rows, rows_per_s=rows_per_s),
                )
                for item in found
            ]


def cancel(stream: Stream, target_dsn: str, ids: Sequence[int] | None = None) -> int:
    """How many were open. Raises: ConfigError, NotPrepared, Transient."""
    with connect(target_dsn, "banyan-cdc ask") as target:
        return requests.cancel(target, stream.name, ids)


def watch(
    stream: Stream, target_dsn: str, ids: Sequence[int], pause: Callable[[float], object], every: float = 0.5
) -> Iterator[list[Request]]:
    """Where these requests stand, again and again, until all have ended. Raises: Transient, NotPrepared."""
    with connect(target_dsn, "banyan-cdc ask") as target:
        while True:
            try:
                found = requests.found(target, stream.name, ids)
            except psycopg.OperationalError as e:
                raise Transient(f"the target: {first_line(e)}") from e
            yield found
            if all(request.state not in requests.OPEN for request in found):
                return
            pause(every)


def watch_fill(
    stream: Stream,
    dsns: tuple[str, str],
    pause: Callable[[float], object],
    every: float = 0.5,
    patience: float = PATIENCE,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[list[Request]]:
    """Where a fill beside the stream stands, again and again, until it is done, or until nobody has read the stream's
    slot for `patience` seconds: then its process does not run.

    Raises: Transient, NotPrepared.
    """
    with source_session(dsns[0], stream.name) as source, connect(dsns[1], "banyan-cdc ask") as target:
        heard = clock()
        try:
            while True:
                found = [request for request in requests.found(target, stream.name) if request.fills]
                yield found
                if all(request.state not in requests.OPEN for request in found):
                    return
                if source.execute(READ, [stream.slot]).fetchone() == (True,):
                    heard = clock()
                elif clock() - heard > patience:
                    return
                pause(every)
        except psycopg.OperationalError as e:
            raise Transient(f"a database of {stream.name}: {first_line(e)}") from e


def _known(known: Any, table: str, stream: Stream) -> Route:
    route = known.get(table) or known.get(f"public.{table}")
    if route is None:
        raise ConfigError(f"{stream.name} has no source table {table}: it has {', '.join(known)}")
    found: Route = route
    return found


def _require_ready(target: psycopg.Connection[Any], stream: Stream, wanted: Sequence[Route]) -> None:
    state = read_state(target, stream.name)
    if state is None:
        raise NotPrepared(f"stream {stream.name} is not prepared in the target: run prepare")
    if state.lsn is None:
        raise NotPrepared(f"stream {stream.name} has not been filled yet: start it, its first fill reads everything")
    if stand(target, stream.name)[0] == "kafka":
        raise ConfigError(
            f"{stream.name} comes through Kafka, where rows cannot be read again beside it:"
            f" `banyan stream move {stream.name} --to direct` first, and back when it is done; who else reads"
            " its topics misses what comes meanwhile"
        )
    if any(route.changes_hands for route in wanted):
        require_source_now(target, stream)
    open_tables = {r.table: r.id for r in requests.found(target, stream.name) if r.state in requests.OPEN}
    for route in wanted:
        if route.source in open_tables:
            raise ConfigError(
                f"{route.source} is being read again already (request {open_tables[route.source]}):"
                " wait for it, or cancel it"
            )


def require_source_now(target: psycopg.Connection[Any], stream: Stream) -> None:
    """A first look, without a lock: each transaction of the re-snapshot makes sure. Raises: TargetOwns."""
    side = "legacy" if stream.direction == "forward" else "service"
    try:
        held = target.execute(
            "SELECT wave, owner, epoch FROM banyan.ownership WHERE domain = %s AND owner <> %s ORDER BY wave LIMIT 1",
            [stream.domain, side],
        ).fetchone()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return
    if held is not None:
        raise TargetOwns(
            f"wave {held[0]} of {stream.domain} is owned by {held[1]} (epoch {held[2]}): the rows of {stream.name}'s"
            f" target may be newer than its source's; what {side} does not own is not read again from it"
        )


def _look(source: psycopg.Connection[Any], route: Route, scope: Scope) -> Asked:
    keys = chunks.keys_of(source, route.source, route.source_key)
    chunks.checked(source, keys, scope)
    if scope.keys is not None:
        return Asked(route.source, route.target, len(scope.keys))
    if not scope.whole and not plain_key(route):
        raise ConfigError(
            f"the key of {route.source} is another at {route.target}, so a range of it is none there: use --keys"
        )
    query = chunks.select(route.source, sql.SQL("1"), keys.within(scope, None))
    return Asked(route.source, route.target, chunks.expected(source, query))
