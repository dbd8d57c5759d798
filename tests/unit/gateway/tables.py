"""A toy domain to decide about: a library that lends books."""

from __future__ import annotations

from typing import Any

from gateway.control.table import Domain, Operation, RouteTable, Upstream, Wave

OPERATIONS = [
    Operation("books.list", "GET", "/books", "read", ["header:x-reader", "cookie:card"]),
    Operation("books.get", "GET", "/books/{id}", "read", ["path:id"]),
    Operation("books.new", "GET", "/books/new", "read"),
    Operation("books.lend", "POST", "/books/{id}/loans", "write", ["query:reader", "header:x-reader"]),
    Operation("v2.books", "GET", "/v2/books", "read", native=True),
    Operation("v2.lend", "POST", "/v2/loans", "write", native=True),
]


def wave(number: int = 0, begin: int = 0, end: int = 1024, **given: Any) -> Wave:
    return Wave(number, begin, end, **given)


def table(*waves: Wave, operations: list[Operation] | None = None, **given: Any) -> RouteTable:
    domain = Domain("lending", list(waves) or [wave()], OPERATIONS if operations is None else operations, **given)
    upstreams = {"legacy": Upstream(["http://127.0.0.1:1"]), "lending": Upstream(["http://127.0.0.1:2"])}
    return RouteTable(7, upstreams, {"library": domain})
