"""What a person reads when a database does not answer: one line with its address, never its password."""

from __future__ import annotations

import re

import psycopg
from psycopg.conninfo import conninfo_to_dict

from cdc.errors import first_line
from migration_plan.errors import Unreachable

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
