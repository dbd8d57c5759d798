"""Tells drift from lag, key by key, without stopping anybody.

1. Read the key's row on both sides, with its version (xmin).
2. Wait until the streams have passed what the sources held after that.
3. Read both again. Alike: it was lag. Neither version has changed: nothing about this key was under way, and still the
   sides differ, so it is drift. Else the key is being written: start over, a bounded number of times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from cdc.mapping import reader
from cdc.mapping.reader import Shape
from cdc.verify.compare import Comparison, Row
from cdc.verify.report import Difference
from cdc.verify.watermark import Watermarks

KEYS_PER_QUERY = 1_000
Versions = dict[Any, tuple[str, Row]]


@dataclass(frozen=True, slots=True)
class Settled:
    drift: list[Difference]
    unsettled: int


@dataclass(frozen=True, slots=True)
class Settler:
    """For one table; `rounds` bounds how often a key that keeps changing is looked at."""

    comparison: Comparison
    legacy_shape: Shape
    service_shape: Shape
    watermarks: Watermarks
    rounds: int

    def settle(self, keys: Sequence[Any]) -> Settled:
        drift: list[Difference] = []
        unsettled = 0
        for start in range(0, len(keys), KEYS_PER_QUERY):
            part = self._settle(list(keys[start : start + KEYS_PER_QUERY]))
            drift += part.drift
            unsettled += part.unsettled
        return Settled(drift, unsettled)

    def _settle(self, keys: list[Any]) -> Settled:
        drift: list[Difference] = []
        here, there = self._read(keys)
        keys = [key for key in keys if self._difference(key, here, there)]
        for _ in range(self.rounds):
            if not keys:
                break
            owners = self.watermarks.ownership()
            if not self.watermarks.wait():
                break
            here_now, there_now = self._read(keys)
            conclusive = owners == self.watermarks.ownership()
            moving = []
            for key in keys:
                found = self._difference(key, here_now, there_now)
                if found is None:
                    continue
                if conclusive and _version(key, here, there) == _version(key, here_now, there_now):
                    drift.append(found)
                else:
                    moving.append(key)
            keys, here, there = moving, here_now, there_now
        return Settled(drift, len(keys))

    def _difference(self, key: Any, here: Versions, there: Versions) -> Difference | None:
        legacy, service = here.get(key), there.get(key)
        return self.comparison.difference(key, legacy and legacy[1], service and service[1])

    def _read(self, keys: list[Any]) -> tuple[Versions, Versions]:
        forward = self.comparison.table.forward
        here = self._rows(self.watermarks.legacy, self.legacy_shape, forward.source_key, keys)
        return here, self._rows(self.watermarks.service, self.service_shape, forward.key, keys)

    def _rows(self, connection: psycopg.Connection[Any], shape: Shape, key: Sequence[str], keys: list[Any]) -> Versions:
        query = sql.SQL("SELECT t.xmin::text, {} FROM {} t JOIN unnest({}) k({}) ON {}").format(
            sql.SQL(", ").join(shape.expressions),
            reader.name(shape.table),
            sql.SQL(", ").join(sql.SQL("%s::{}[]").format(sql.SQL(shape.type_of(column))) for column in key),
            sql.SQL(", ").join(sql.Identifier(f"k{i}") for i in range(len(key))),
            sql.SQL(" AND ").join(
                sql.SQL("{} = {}").format(shape.expression(column), sql.Identifier("k", f"k{i}"))
                for i, column in enumerate(key)
            ),
        )
        lists = list(map(list, zip(*keys, strict=True))) if len(key) > 1 else [keys]
        with connection.cursor(binary=True) as cursor:
            rows = cursor.execute(query, lists).fetchall()
        return {self.comparison.key_of(row[1:]): (row[0], row[1:]) for row in rows}


def _version(key: Any, here: Versions, there: Versions) -> tuple[str | None, str | None]:
    """Which transactions wrote the two rows; None where there is none."""
    legacy, service = here.get(key), there.get(key)
    return legacy[0] if legacy else None, service[0] if service else None
