"""Transactions of a snapshot at its target: each holds the waves at the source's side, so that no switch crosses it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from cdc.apply.owned import require_source_owns
from cdc.apply.route import Route
from cdc.config import Stream
from cdc.errors import TargetOwns

Begin = Callable[[psycopg.Connection[Any]], None]
"""Starts a transaction. Raises: TargetOwns, with nothing begun."""


def beginner(stream: Stream, routes: Collection[Route]) -> Begin:
    """For transactions that write the targets of these routes; reference data is the source's for ever."""
    guarded = any(route.changes_hands for route in routes)

    def begin(target: psycopg.Connection[Any]) -> None:
        target.execute("BEGIN")
        try:
            if guarded:
                require_source(target, stream)
        except BaseException:
            if not target.closed:
                target.execute("ROLLBACK")
            raise

    return begin


def require_source(target: psycopg.Connection[Any], stream: Stream) -> None:
    """Raises: TargetOwns, unless the source owns every wave, which then stays so until the transaction ends."""
    try:
        require_source_owns(target, stream.domain, stream.direction)
    except TargetOwns as e:
        raise TargetOwns(
            f"stream {stream.name} may not fill its target, where {e}: the fill would overwrite writes that only the"
            f" target has; roll back first (banyan rollback {stream.domain} --force-gate {stream.direction}-stream)"
        ) from e


@contextmanager
def transaction(target: psycopg.Connection[Any], begin: Begin) -> Iterator[None]:
    begin(target)
    try:
        yield
        target.execute("COMMIT")
    except BaseException:
        if not target.closed:
            target.execute("ROLLBACK")
        raise
