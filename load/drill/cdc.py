"""`banyan drill cdc`: kill -9 of streams, Kafka and databases at random moments of a workload, and an
account of all rows.

At the end source and target must be equal by a compare of its own, nothing accepted may be missing, nothing may have
come twice, and verification may not have called anything drift.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from banyan.servers.kafka import Kafka
from cdc.errors import CdcError
from cdc.verify import Carrier, VerifyError, verify
from load.bench.report import machine
from load.drill.domains import COMPARED, DOUBLED
from load.drill.workload import ITEMS, TICKETS, Writer
from load.drill.world import DrillError, StreamProcess, World, one

WRITERS = 2  # of each domain
NAMED = 5  # differing rows that the account names

Say = Callable[[str], None]


class Account(msgspec.Struct):
    """`committed`: transactions that the databases said yes to; `unknown`: how often a kill cut a writer off; `lost`:
    accepted ones that a side lacks; `doubled`: versions of rows that came twice or too late; `false_positives`: rows
    that verification called drift while all was well; `kafka`: the broker that one of the streams went through."""

    drill: str
    seed: int
    rounds: int
    kills: dict[str, int]
    committed: int
    unknown: int
    rows: dict[str, int]
    equal: bool
    differing: int
    lost: int
    doubled: int
    parked: int
    verifications: int
    false_positives: int
    recovery_s: dict[str, float]
    seconds: float
    kafka: str | None
    machine: dict[str, Any]
    notes: list[str] = []

    @property
    def well(self) -> bool:
        return self.equal and not (self.lost or self.doubled or self.parked or self.false_positives or self.notes)

    def as_json(self) -> str:
        return msgspec.json.encode({**msgspec.structs.asdict(self), "well": self.well}).decode()


def run(rounds: int, seed: int, seconds: float, say: Say = lambda line: None, through_kafka: bool = True) -> Account:
    """`seconds`: the longest that a round's load goes on before its kill. `through_kafka`: one of the two streams is.

    Raises: DrillError when something did not come back, ServerMissing.
    """
    with tempfile.TemporaryDirectory(prefix="banyan-drill-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # the servers may run as another user
        world = World(Path(folder), Kafka(Path(folder) / "kafka") if through_kafka else None)
        try:
            world.start()
            return _Drill(world, random.Random(seed), seed, seconds, say).run(rounds)
        finally:
            world.stop()


class _Drill:
    def __init__(self, world: World, dice: random.Random, seed: int, seconds: float, say: Say) -> None:
        self._world, self._dice, self._seed, self._seconds, self._say = world, dice, seed, seconds, say
        self._victims = world.victims
        self._kills: Counter[str] = Counter()
        self._recoveries: list[float] = []
        self._verified = self._drift = 0
        self._notes: list[str] = []
        self._writers = [
            Writer(dsn, table, number, WRITERS, seed)
            for dsn, table in ((world.legacy_dsn, ITEMS), (world.service_dsn, TICKETS))
            for number in range(WRITERS)
        ]

    def run(self, rounds: int) -> Account:
        began = time.monotonic()
        for writer in self._writers:
            writer.start()
        for process in self._world.streams:  # the first fill has writers from its beginning
            process.start()
        try:
            for number in range(1, rounds + 1):
                self._round(number, rounds)
        finally:
            for writer in self._writers:
                writer.end()
        for process in self._world.streams:
            process.caught_up()
        self._verify()
        return self._account(rounds, time.monotonic() - began)

    def _round(self, number: int, rounds: int) -> None:
        dice = self._dice
        time.sleep(dice.uniform(0.05, self._seconds))
        victims = dice.sample(self._victims, dice.choice((1, 1, 1, 2, 2, 3)))
        for victim in victims:
            victim.kill()
            self._kills[victim.name] += 1
            time.sleep(dice.choice((0.0, dice.uniform(0, 0.3))))
        dice.shuffle(victims)
        for victim in victims:
            victim.restore()
        names = ", ".join(sorted(victim.name for victim in victims))
        if dice.random() < 0.3 and number < rounds:  # the next kill meets the recovery
            self._say(f"round {number} of {rounds}: killed {names}")
            return
        took = max(process.caught_up() for process in self._world.streams)
        self._recoveries.append(took)
        said = f"round {number} of {rounds}: killed {names}; caught up after {took:.2f} s"
        if number % 5 == 0 or number == rounds:
            self._verify()
            said += ", verified under load"
        self._say(said)

    def _verify(self) -> None:
        for process in self._world.streams:
            try:
                report = self._report(process)
            except (CdcError, VerifyError) as e:
                raise DrillError(f"verification of {process.stream.domain}: {e}") from e
            self._verified += 1
            if report.drift:
                self._drift += report.drift
                self._notes.append(f"{process.stream.domain}: {report.drift} rows called drift")

    def _report(self, process: StreamProcess) -> Any:
        stream = process.stream
        carriers = {stream.direction: Carrier(stream.name, process.source, stream.publication)}
        return verify(self._world.legacy_dsn, self._world.service_dsn, process.mapping, carriers=carriers)

    def _account(self, rounds: int, seconds: float) -> Account:
        world = self._world
        rows, differing = self._compared()
        refused = [line for writer in self._writers for line in writer.refused]
        recoveries = sorted(self._recoveries) or [0.0]
        return Account(
            drill="cdc",
            seed=self._seed,
            rounds=rounds,
            kills=dict(sorted(self._kills.items())),
            committed=sum(len(writer.accepted) for writer in self._writers),
            unknown=sum(writer.unknown for writer in self._writers),
            rows=rows,
            equal=not differing,
            differing=differing,
            lost=self._lost(),
            doubled=sum(one(dsn, DOUBLED) for dsn in (world.legacy_dsn, world.service_dsn)),
            parked=sum(
                one(process.target, "SELECT count(*) FROM banyan.parked WHERE stream = %s", [process.stream.name])
                for process in world.streams
            ),
            verifications=self._verified,
            false_positives=self._drift,
            recovery_s={
                "p50": round(statistics.median(recoveries), 2),
                "max": round(recoveries[-1], 2),
            },
            seconds=round(seconds, 1),
            kafka=world.kafka.what if world.kafka is not None else None,
            machine=machine(),
            notes=[*self._notes, *(f"a writer was refused: {line}" for line in refused)],
        )

    def _compared(self) -> tuple[dict[str, int], int]:
        """Rows by table, and how many of all differ. The writers have ended and the streams have caught up."""
        rows: dict[str, int] = {}
        differing = 0
        for name, (legacy, service) in COMPARED.items():
            here, there = _rows(self._world.legacy_dsn, legacy), _rows(self._world.service_dsn, service)
            apart = here.symmetric_difference(there)
            rows[name] = len(here)
            differing += len(apart)
            self._notes += [f"{name}: only one side has {str(row)[:200]}" for row in sorted(apart, key=str)[:NAMED]]
        return rows, differing

    def _lost(self) -> int:
        """Accepted transactions whose entry one of the sides lacks."""
        lost = 0
        for writer in self._writers:
            for name in ("shop entries", "desk entries"):
                if (writer.table is ITEMS) != name.startswith("shop"):
                    continue
                for dsn, query in zip((self._world.legacy_dsn, self._world.service_dsn), COMPARED[name], strict=True):
                    there = {n for number, n in _rows(dsn, query) if number == writer.number}
                    lost += len(set(writer.accepted) - there)
        return lost


def _rows(dsn: str, query: str) -> set[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return set(connection.execute(query.encode()).fetchall())
