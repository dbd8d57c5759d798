"""`locust -f load/cutover.py --headless`: a domain moves to its service and back under load; nobody may notice."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import gevent
from locust import LoadTestShape, events

from load.objectives import Objectives, watch
from load.users import DeviceAgent, PricingClient

__all__ = ["Cutover", "DeviceAgent", "PricingClient"]

USERS = int(os.environ.get("LOAD_USERS", "40"))
PACE_S = float(os.environ.get("LOAD_PACE_S", "10"))
DOMAIN = os.environ.get("LOAD_DOMAIN", "pricing")
#: Shadow, canary at its two steps, the switch, and the way back.
VERBS = ("advance", "advance", "advance", "switch", "rollback")


@dataclass(frozen=True, slots=True)
class Verb:
    """A command of the operator, `at` seconds after the start."""

    at: float
    name: str


def schedule(pace_s: float) -> list[Verb]:
    """One verb every `pace_s` seconds; the time at the service is twice as long."""
    return [Verb(pace_s * (number + 1 + (name == "rollback")), name) for number, name in enumerate(VERBS)]


class Cutover(LoadTestShape):
    """Constant load from before the first verb until after the last."""

    def tick(self) -> tuple[int, float] | None:
        return (USERS, USERS / 2) if self.get_run_time() < schedule(PACE_S)[-1].at + PACE_S else None


def command(verb: str) -> list[str]:
    """LOAD_BANYAN names another command line, with its own arguments before the verb."""
    banyan = shlex.split(os.environ.get("LOAD_BANYAN", "")) or [sys.executable, "-m", "banyan.cli"]
    return [*banyan, verb, DOMAIN, "--yes", "--reason", "load test"]


def carry_out(verb: str) -> str | None:
    """What went wrong, in one line."""
    try:
        done = subprocess.run(command(verb), capture_output=True, text=True, timeout=180, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"banyan {verb}: {error}"
    if done.returncode == 0:
        return None
    lines = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()
    return f"banyan {verb} {DOMAIN} ended with {done.returncode}: {lines[-1]}"


@events.test_start.add_listener
def operate(environment: Any, **_: Any) -> None:
    """Begin the operator's work beside the users."""
    environment.banyan_problems = []
    gevent.spawn(_operate, environment)


def _operate(environment: Any) -> None:
    waited = 0.0
    for verb in schedule(PACE_S):
        gevent.sleep(verb.at - waited)
        waited = verb.at
        print(f"{verb.at:5.0f} s  $ banyan {verb.name} {DOMAIN}")
        if problem := carry_out(verb.name):
            environment.banyan_problems.append(problem)
            environment.runner.quit()
            return


watch(Objectives.from_env())
