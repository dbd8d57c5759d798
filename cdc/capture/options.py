"""What is asked of pgoutput, by the server's version. Pure.

Source: PostgreSQL manual, "Logical Streaming Replication Parameters", and its release notes.
"""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql


def protocol(server_version: int) -> int:
    """The newest version that the server speaks: 2 streams transactions, 3 prepares, 4 streams in parallel."""
    for version, since in ((4, 160000), (3, 150000), (2, 140000)):
        if server_version >= since:
            return version
    return 1


def options(
    server_version: int, publications: Sequence[str], *, streaming: bool = False, binary: bool = False
) -> dict[str, str]:
    """`streaming`: send large transactions before they have ended. `binary`: values as the types' send functions
    write them. Both only where the server can.
    """
    asked = {
        "proto_version": str(protocol(server_version)),
        "publication_names": ",".join(sql.Identifier(name).as_string(None) for name in publications),
    }
    if server_version >= 140000:
        asked["messages"] = "true"
        if streaming:
            asked["streaming"] = "on"
        if binary:
            asked["binary"] = "true"
    if server_version >= 160000:
        asked["origin"] = "none"
    return asked


def as_sql(asked: dict[str, str]) -> sql.Composed:
    pairs = [sql.SQL("{} {}").format(sql.SQL(name), sql.Literal(value)) for name, value in asked.items()]
    return sql.SQL(", ").join(pairs)
