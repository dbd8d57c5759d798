"""Seeded writers that go on through every kill, and remember what the database said yes to."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import psycopg

# Pause between two transactions of one writer, seconds: the machine has other things to do as well.
PAUSE = 0.02
# Size of a text that is stored out of line, so that an update of its row does not send it.
LARGE = 3_000


@dataclass(frozen=True, slots=True)
class Table:
    """What a writer needs to know of its table; `flip` is an assignment that changes a row without its large text."""

    name: str
    entries: str
    insert: str
    flip: str
    text: str


ITEMS = Table(
    "item",
    "entry",
    "INSERT INTO item VALUES (%(id)s, 'c' || %(id)s, 'name', %(x)s, %(text)s, 'A', 1)",
    "price_cents = %(x)s, status = CASE status WHEN 'A' THEN 'I' ELSE 'A' END",
    "note",
)
TICKETS = Table(
    "ticket",
    "ticket_entries",
    "INSERT INTO ticket VALUES (%(id)s, 'title', %(text)s, 'open', 1)",
    "title = 'title ' || %(x)s, state = CASE state WHEN 'open' THEN 'closed' ELSE 'open' END",
    "body",
)


@dataclass
class Writer(threading.Thread):
    """Owns the ids that are its number modulo `writers`, and never takes an id twice."""

    dsn: str
    table: Table
    number: int
    writers: int
    seed: int
    accepted: list[int] = field(default_factory=list)
    unknown: int = 0
    refused: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(name=f"writer-{self.table.name}-{self.number}", daemon=True)
        self._random = random.Random(f"{self.seed}/{self.table.name}/{self.number}")
        self._halt = threading.Event()
        self._live: list[int] = []
        self._next = self.number

    def __hash__(self) -> int:
        return id(self)

    def end(self) -> None:
        self._halt.set()
        self.join(30)

    def run(self) -> None:
        n = 0
        while not self._halt.is_set():
            try:
                with psycopg.connect(self.dsn, connect_timeout=5) as connection:
                    self._live = [
                        row[0]
                        for row in connection.execute(
                            f"SELECT id FROM {self.table.name} WHERE id %% %s = %s",  # noqa: S608  names of ours
                            [self.writers, self.number],
                        )
                    ]
                    while not self._halt.is_set():
                        n += 1
                        self._transaction(connection, n)
                        time.sleep(PAUSE)
            except psycopg.OperationalError:  # killed: whether the last commit was kept, nobody knows
                self.unknown += 1
                self._halt.wait(0.05)
            except psycopg.Error as e:
                self.refused.append(str(e))
                return

    def _transaction(self, connection: psycopg.Connection[Any], n: int) -> None:
        """One to eight changes and an entry; now and then many changes, or a rollback."""
        dice = self._random.random()
        size = self._random.randint(1, 8) if dice < 0.995 else 500
        live = list(self._live)
        for _ in range(size):
            self._change(connection, live)
        if dice > 0.03 or n < 5:
            connection.execute(f"INSERT INTO {self.table.entries} VALUES (%s, %s)", [self.number, n])  # noqa: S608
            connection.commit()
            self.accepted.append(n)
            self._live = live
        else:
            connection.rollback()

    def _change(self, connection: psycopg.Connection[Any], live: list[int]) -> None:
        name, dice = self.table.name, self._random.random()
        x = self._random.randrange(1_000_000)
        if dice < 0.35 or len(live) < 10:
            text = "t" * LARGE if self._random.random() < 0.2 else None
            connection.execute(self.table.insert, {"id": self._fresh(live), "x": x, "text": text})
            return
        at = self._random.randrange(len(live))
        if dice < 0.8:
            change = f"UPDATE {name} SET {self.table.flip}, version = version + 1 WHERE id = %(id)s"  # noqa: S608
        elif dice < 0.88:
            text = f"{self.table.text} = repeat('u', %(x)s %% 5000)"
            change = f"UPDATE {name} SET {text}, version = version + 1 WHERE id = %(id)s"  # noqa: S608  names of ours
        elif dice < 0.89:
            connection.execute(f"UPDATE {name} SET id = %s WHERE id = %s", [self._fresh(live), live.pop(at)])  # noqa: S608
            return
        else:
            connection.execute(f"DELETE FROM {name} WHERE id = %s", [live.pop(at)])  # noqa: S608
            return
        connection.execute(change, {"id": live[at], "x": x})

    def _fresh(self, live: list[int]) -> int:
        self._next += self.writers
        live.append(self._next)
        return self._next
