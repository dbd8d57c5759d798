"""`banyan drill switch`: a fault at each step of the switch and of the rollback, under load, and an account of each."""

from __future__ import annotations

import contextlib
import json
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg

from banyan.stack.traffic import Traffic
from load.audit import audit
from load.clients import Fleet
from load.drill import faults
from load.drill.cells import MAY_FAIL_CALLS, Cell, Verb
from load.drill.owners import QUERY, Watch
from load.drill.stage import DOMAIN, Stage, stage, table_of
from load.drill.world import DrillError
from migration_plan.context import Context
from migration_plan.errors import PlanError
from migration_plan.ledger import Ledger

RATE, CLIENTS = 100, 10
SHELVES = 100  # a cell's tariffs and areas are its own, and are used again so much later
WARM = 0.8  # seconds of load before a verb, and after all is well again
REACHES = 30.0  # seconds for a verb to come to its point
BACK = 75.0  # for the same verb, given again, to be done
ENDS = 60.0
Say = Callable[[str], None]


class Outcome(msgspec.Struct):
    """Of one cell. `first`: what the verb said that met the fault; `tries`: how often it was given again."""

    cell: str
    row: str
    point: str
    verb: str
    well: bool
    problems: list[str]
    first: str
    tries: int
    seconds: float
    requests: int = 0
    accepted: int = 0
    failed: int = 0
    stale: int = 0
    evidence: str | None = None


def run(cells: Sequence[Cell], keep: Path, say: Say, seconds: float | None = None) -> list[Outcome]:
    """`keep`: where the evidence of failed cells goes. After `seconds` no further cell begins.

    Raises: DrillError, ServerMissing, ServerFailed.
    """
    outcomes: list[Outcome] = []
    with stage(say) as made:
        began = time.monotonic()
        for number, cell in enumerate(cells, 1):
            if seconds is not None and time.monotonic() - began > seconds:
                say(f"{len(cells) - number + 1} cells were left out: the time is up")
                break
            outcome = _Play(made, cell, number).run()
            if not outcome.well:
                outcome.evidence = str(_evidence(made, outcome, keep / f"{number:03d}-{cell.row}-{cell.point}"))
            outcomes.append(outcome)
            said = "well" if outcome.well else "NOT well: " + "; ".join(outcome.problems)
            say(f"{number}/{len(cells)} {cell}: {outcome.first}; {said} ({outcome.seconds:.1f} s)")
    return outcomes


@dataclass
class _Play:
    made: Stage
    cell: Cell
    number: int

    def run(self) -> Outcome:
        began = time.monotonic()
        made, cell = self.made, self.cell
        problems: list[str] = []
        tries = self._come_to_the_start(problems)
        key = made.straight["LEGACY_BACKOFFICE_KEY"]
        fleet = Fleet(
            made.straight["BANYAN_GATEWAY_URL"],
            key,
            clients=CLIENTS,
            rate=RATE,
            seed=self.number,
            shelf=f"D{self.number % SHELVES:02d}",
        )
        traffic = Traffic(fleet)
        watch = Watch(made.straight["BANYAN_LEGACY_DSN"], made.straight["BANYAN_PRICING_DSN"], DOMAIN)
        traffic.start()
        watch.start()
        first = "it did not begin"
        try:
            time.sleep(WARM)
            first = self._with_the_fault(problems)
            tries = self._until(cell.verb, problems)
            time.sleep(WARM)
        finally:
            traffic.stop()
            watch.end()
        stats = traffic.stats()
        problems += [f"one writer: {breach}" for breach in watch.breaches[:3]]
        problems += self._kept(fleet, stats.failed, stats.stale_reads)
        if problems and stats.samples:
            problems += [f"a call: {sample}" for sample in stats.samples[:3]]
        return Outcome(
            str(cell), cell.row, cell.point, cell.verb, not problems, problems, first, tries,
            round(time.monotonic() - began, 1), stats.requests, len(fleet.accepted()), stats.failed, stats.stale_reads,
        )  # fmt: skip

    def _come_to_the_start(self, problems: list[str]) -> int:
        """A rollback begins where a switch has ended, and the other way round."""
        owner = "legacy" if self.cell.verb == "switch" else "service"
        if self._owners() != {owner}:
            return self._until("rollback" if owner == "legacy" else "switch", problems)
        return 0

    def _with_the_fault(self, problems: list[str]) -> str:
        """The verb to its point, the fault, its end; what the verb said."""
        made, cell = self.made, self.cell
        controller = made.controller(cell.verb, cell.point)
        try:
            if (said := _line(controller, REACHES)) != f"at {cell.point}":
                problems.append(f"the verb did not come to {cell.point}: {said}")
                return said
            end = faults.begin(made, cell, controller)
            try:
                _go_on(controller)
                if faults.lasts(made, cell):
                    return self._ended(controller, problems)
            finally:
                end()
            return self._ended(controller, problems)
        finally:
            if controller.poll() is None:
                controller.kill()
            controller.wait(10)

    def _ended(self, controller: subprocess.Popen[str], problems: list[str]) -> str:
        """Of itself and with a sentence, unless it was killed."""
        try:
            said, _ = controller.communicate(timeout=ENDS)
        except subprocess.TimeoutExpired:
            problems.append(f"the verb had not ended after {ENDS:.0f} s")
            return "no end"
        if "Traceback" in said:
            problems.append(f"the verb ended with a traceback: {said.strip().splitlines()[-1]}")
        if controller.returncode == 0:
            pause = json.loads(said.strip().splitlines()[-1])["pause_ms"]
            return f"done, pause {pause:.0f} ms" if pause is not None else "done, nothing was left to do"
        if controller.returncode < 0:
            return f"killed ({-controller.returncode})"
        return said.strip().splitlines()[-1] if said.strip() else f"exit code {controller.returncode}"

    def _until(self, verb: Verb, problems: list[str]) -> int:
        """The same command again, as every message says, until it is done: a way forward and a way back, always."""
        deadline = time.monotonic() + BACK
        tries = 0
        goal = "service" if verb == "switch" else "legacy"
        while True:
            if tries and self._owners() == {goal} and self._settled(goal) is None:
                return tries
            tries += 1
            code, said = self.made.verb(verb)
            if code == 0 and (why := self._settled(goal)) is None:
                return tries
            if time.monotonic() > deadline:
                problems.append(f"`banyan {verb}` is still not done after {tries} tries: {said if code else why}")
                return tries
            time.sleep(0.5)

    def _owners(self) -> set[str]:
        found = set()
        for name in ("BANYAN_LEGACY_DSN", "BANYAN_PRICING_DSN"):
            try:
                with psycopg.connect(self.made.straight[name], connect_timeout=3) as connection:
                    row = connection.execute(QUERY, [DOMAIN]).fetchone()
            except psycopg.OperationalError as error:
                return {f"unknown ({error})"}
            found.add(str(row[0]) if row else "none")
        return found

    def _settled(self, goal: str) -> str | None:
        """Why it is not: databases, ledger and gateway name one owner, and nothing is held."""
        if (owners := self._owners()) != {goal}:
            return f"the databases say {owners}"
        try:
            table: Any = table_of(self.made)
            with Context.from_env(self.made.straight, "drill") as context:
                state = context.ledger().states()[DOMAIN, 0]
        except (httpx.HTTPError, PlanError) as error:
            return f"who could say it does not answer: {error}"
        wave = table["domains"][DOMAIN]["waves"][0]
        if wave["owner"] != goal or wave.get("hold"):
            return f"the gateway says {wave}"
        return None if state.owner == goal else f"the ledger says {state}"

    def _kept(self, fleet: Fleet, failed: int, stale: int) -> list[str]:
        """Invariants 2, 3, 5 and 6 by the clients' own memory; 7 by the slots; the ledger by its chain."""
        made, problems = self.made, []
        try:
            report = audit(
                fleet.accepted(), made.straight["BANYAN_LEGACY_DSN"], made.straight["BANYAN_PRICING_DSN"], wait_s=20
            )
        except psycopg.Error as error:
            return [f"nothing could be looked up: {error}"]
        if not report.clean:
            problems.append(f"{report.lost} lost, {report.doubled} doubled: {'; '.join(map(str, report.samples[:3]))}")
        if stale:
            problems.append(f"{stale} reads did not show their client's own write")
        if failed and self.cell.component not in MAY_FAIL_CALLS:
            problems.append(f"{failed} calls failed")
        try:
            with Ledger(made.straight["BANYAN_LEDGER_DSN"], "drill") as ledger:
                checked = ledger.check()
        except Exception as error:
            return [*problems, f"the ledger: {error}"]
        if not checked.holds:
            problems.append(f"the ledger breaks at row {checked.broken_at}: {checked.why}")
        return problems


def _line(process: subprocess.Popen[str], seconds: float) -> str:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], seconds)
    return process.stdout.readline().strip() or "it said nothing" if ready else f"nothing within {seconds:.0f} s"


def _go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write("\n")
        process.stdin.flush()
    except BrokenPipeError:  # killed
        pass


def _evidence(made: Stage, outcome: Outcome, folder: Path) -> Path:
    """Logs, the ledger and what was found, in a folder that stays."""
    folder = folder.with_name(folder.name.replace(" ", "-"))
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(made.home.logs, folder / "log", dirs_exist_ok=True)
    (folder / "outcome.json").write_bytes(msgspec.json.format(msgspec.json.encode(outcome)))
    with contextlib.suppress(PlanError), Context.from_env(made.straight, "drill") as context:
        rows = [msgspec.to_builtins(row, enc_hook=str) for row in context.ledger().history(DOMAIN, limit=100)]
        (folder / "ledger.json").write_bytes(msgspec.json.format(msgspec.json.encode(rows, enc_hook=str)))
    return folder


__all__ = ["DrillError", "Outcome", "run"]
