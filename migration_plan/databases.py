"""What a person reads when a database does not answer: one line with its address, never its password."""

from __future__ import annotations

import re
import time
from collections.abc import Generator
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import Row

from cdc.errors import first_line
from migration_plan.errors import Unreachable

T = TypeVar("T")
# Longer than the time-out that the server keeps (`context.STATEMENT_TIMEOUT_MS`), which it can when it is well.
ANSWER_S = 12.0
STACK_HINT = "is the stack up? start it with `banyan up`"

# libpq says where it tried, which we say already.
_WHERE = re.compile(r"^connection (failed|is bad): (connection to server .* failed: )?")
# A server that refuses us is up; one that is not there may be the whole stack.
_ABSENT = re.compile(r"Connection refused|No such file or directory|timeout expired|No route to host")


def unreachable(what: str, dsn: str, error: psycopg.Error) -> Unreachable:
    """`error` of the database at `dsn`, which is `what` to the reader."""
    at, why = address(dsn), _WHERE.sub("", first_line(error)).removeprefix("FATAL: ")
    hint = f": {STACK_HINT}" if _ABSENT.search(why) else ""
    return Unreachable(f"{what} does not answer at {at} ({why}){hint}", at=at, what=what, why=why)


def address(dsn: str) -> str:
    """`host:port` of a libpq URL or connection string."""
    known = conninfo_to_dict(dsn)
    return f"{known.get('host') or known.get('hostaddr') or 'localhost'}:{known.get('port') or 5432}"


class Bounded(psycopg.Connection[Row]):
    """No call waits for longer than `answer_s`. A server that is frozen, or behind a network that carries nothing,
    closes no connection: whoever fenced a wave must hear of it, to say so and to leave the rest to the next run.
    """

    answer_s: float | None = None  # None: ANSWER_S

    def wait(self, gen: Generator[Any, Any, T], *options: Any, **named: Any) -> T:
        if named.get("timeout") is not None:  # for a notification: its caller says for how long
            return super().wait(gen, *options, **named)
        return super().wait(self._within(gen, self.answer_s or ANSWER_S), *options, **named)

    def _within(self, gen: Generator[Any, Any, T], seconds: float) -> Generator[Any, Any, T]:
        deadline = time.monotonic() + seconds
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted  # every 0.1 s at the latest, so that Ctrl-C is seen
                if not ready and time.monotonic() > deadline:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"no answer within {seconds:g} s")
                wanted = gen.send(ready)
        except StopIteration as end:
            answer: T = end.value
            return answer
