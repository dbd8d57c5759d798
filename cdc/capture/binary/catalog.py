"""Which types a publication's columns have, and how their binary values become text: also a database's own types."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
import structlog

from cdc.capture.binary.compound import array, span, spans
from cdc.capture.binary.scalars import SCALARS, Convert, text

Resolver = Callable[[int], Convert | None]

log = structlog.get_logger("cdc.capture")

# Every type that a published column has, and those that it is made of.
_TYPES = """
WITH RECURSIVE used(oid) AS (
    SELECT DISTINCT a.atttypid FROM pg_publication_tables p
    JOIN pg_attribute a ON a.attrelid = to_regclass(format('%I.%I', p.schemaname, p.tablename))
    WHERE p.pubname = %s AND a.attnum > 0 AND NOT a.attisdropped
  UNION
    SELECT part FROM used JOIN pg_type t ON t.oid = used.oid
    LEFT JOIN pg_range r ON t.oid IN (r.rngtypid, r.rngmultitypid)
    CROSS JOIN LATERAL unnest(ARRAY[t.typbasetype, t.typelem, r.rngsubtype]) AS part WHERE part <> 0
)
SELECT t.oid::bigint, t.typname, t.typtype, t.typbasetype::bigint, t.typdelim, t.typsend <> 0,
       CASE WHEN t.typsubscript = 'array_subscript_handler'::regproc THEN t.typelem::bigint END, r.rngsubtype::bigint
FROM used JOIN pg_type t ON t.oid = used.oid LEFT JOIN pg_range r ON t.oid IN (r.rngtypid, r.rngmultitypid)
"""


@dataclass(frozen=True, slots=True)
class _Type:
    name: str
    kind: str
    base: int
    delimiter: str
    sends: bool
    element: int | None
    bound: int | None


def resolver(connection: psycopg.Connection[Any], publication: str) -> Resolver | None:
    """By type OID; None when a published column has a type that only text is known of, which is told."""
    rows = connection.execute(_TYPES.replace("%I", "%%I"), [publication]).fetchall()
    types = {row[0]: _Type(*row[1:]) for row in rows}
    known: dict[int, Convert] = {}
    unknown: list[str] = []
    for oid, found in types.items():
        convert = _of(oid, types)
        if convert is not None:
            known[oid] = convert
        elif found.sends:
            unknown.append(found.name)
    if unknown:
        log.warning("values come as text: some types are not known in binary", types=sorted(unknown))
        return None
    return known.get


def _of(oid: int, types: Mapping[int, _Type]) -> Convert | None:
    found = types.get(oid)
    if found is None:
        return None
    if found.kind == "e":
        return text
    if found.kind == "d":
        return _of(found.base, types)
    if found.kind in ("r", "m"):
        bound = _of(found.bound or 0, types)
        if bound is None:
            return None
        return span(bound) if found.kind == "r" else spans(span(bound))
    if found.element is not None:
        element = _of(found.element, types)
        return None if element is None else array(element, found.delimiter.encode())
    return SCALARS.get(found.name)
