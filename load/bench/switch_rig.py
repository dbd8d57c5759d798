"""The ground of `banyan bench switch`: a stack of its own in a scratch folder, clients, and who moves the writes."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import yaml

from banyan.errors import StackError
from banyan.servers.ports import free_port
from banyan.stack import boot, config
from banyan.stack.home import Home
from banyan.stack.supervisor import Supervisor
from migration_plan import plan as plans
from migration_plan import verbs
from migration_plan.context import Context
from migration_plan.errors import Aborted

DOMAIN = "pricing"
PRICES_SINCE = 2024  # the monolith's prices of two years: enough rows to compare, loaded in seconds
FORCED = ("shadow", "errors", "pause")  # nothing is compared here, and what a pause is going to be is what we measure


@dataclass(slots=True)
class Move:
    """One switch or rollback. Times: monotonic seconds of the first and the last moment of steps 2 to 7."""

    verb: str
    result: verbs.Result
    held: float
    released: float
    ledger_ms: float = 0.0  # the one write inside the pause, after the fence
    given_up: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Rig:
    settings: config.Config

    @property
    def env(self) -> dict[str, str]:
        return {**os.environ, **self.settings.env}

    def context(self) -> Context:
        return Context.from_env(self.settings.env, "bench")


@contextlib.contextmanager
def rig(tell: Callable[[str], None]) -> Iterator[Rig]:
    """Starts in some 20 s; everything is stopped and removed at the end, but for the logs of what failed.

    Raises: StackError and its like.
    """
    folder = Path(tempfile.mkdtemp(prefix="banyan-bench-"))
    home = Home(folder)
    supervisor, failed = Supervisor(home), False
    try:
        with home.lock():
            home.create()
            settings = config.make(home, gateway_port=free_port(), console_port=free_port(), fresh=True)
            settings.env["BANYAN_PLAN"] = str(_plan(folder))
            settings.write()
            options = boot.Options(agents=0, prices_since=PRICES_SINCE, meters=0, domains=(DOMAIN,), steward=False)
            boot.boot(settings, supervisor, options, lambda step, detail: tell(f"{step}: {detail}"))
            yield Rig(settings)
    except Exception:
        failed = True
        raise
    finally:
        supervisor.stop()
        for path in folder.iterdir():
            if not (failed and path == home.logs):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty
            folder.rmdir()


def _plan(folder: Path) -> Path:
    """The shipped plan without copied reads and without a limit of one address, which all clients come from."""
    shipped = plans.load().mapping_path(DOMAIN).parent
    shutil.copytree(shipped, folder / "plan" / shipped.name, ignore=shutil.ignore_patterns("__pycache__"))
    document = yaml.safe_load((shipped.parent / "plan.yaml").read_text())
    document["domains"][DOMAIN]["shadow_percent"] = 0
    document["domains"][DOMAIN].pop("limits", None)
    path = folder / "plan" / "plan.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def to_canary(rig: Rig, percent: int = 50) -> None:
    with rig.context() as context:
        verbs.advance(context, DOMAIN, to="shadow", reason="bench")
        verbs.advance(context, DOMAIN, to=str(percent), reason="bench", forced=FORCED[:2])


def move(context: Context, verb: str, attempts: int = 5) -> Move:
    """Raises: Aborted when it was given up that often; anything else that a verb raises."""
    marks: dict[tuple[str, str], float] = {}

    def hook(step: str, when: str) -> None:
        marks[step, when] = time.monotonic()

    given_up: list[str] = []
    while True:
        try:
            run = verbs.switch if verb == "switch" else verbs.rollback
            result = run(context, DOMAIN, reason="bench", forced=("pause",), hook=hook)
        except Aborted as error:
            given_up.append(str(error))
            if len(given_up) >= attempts:
                raise
        else:
            ledger_ms = (marks["catch_up", "before"] - marks["fence", "after"]) * 1000
            return Move(verb, result, marks["hold", "before"], marks["publish", "after"], ledger_ms, given_up)


class Clients:
    """A running process of `switch_clients`."""

    def __init__(self, rig: Rig, rate: float, clients: int, seconds: float = 0.0) -> None:
        command = [sys.executable, "-m", "load.bench.switch_clients", str(rate), str(clients), str(seconds)]
        self._ends_itself = seconds > 0
        self._process = subprocess.Popen(
            command, env=rig.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        self._line(30)

    def end(self) -> dict[str, Any]:
        """No new requests; what was sent, how long each write waited, and the audit. Raises: StackError."""
        assert self._process.stdin is not None
        if not self._ends_itself:
            self._process.stdin.close()
        found: dict[str, Any] = msgspec.json.decode(self._line(120))
        self._process.wait(20)
        return found

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def _line(self, seconds: float) -> bytes:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        line = self._process.stdout.readline() if ready else b""
        if not line:
            raise StackError("the clients ended, or said nothing: see what they wrote above")
        return line


@contextlib.contextmanager
def clients(rig: Rig, rate: float, count: int, seconds: float = 0.0) -> Iterator[Clients]:
    running = Clients(rig, rate, count, seconds)
    try:
        yield running
    finally:
        running.kill()
