"""The demonstration: pricing moves to its service and back while independent clients read and write without pause."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from banyan.errors import BanyanError
from banyan.stack import story
from banyan.stack.config import Config
from banyan.stack.supervisor import Supervisor
from banyan.stack.traffic import Traffic
from load.stats import Kind, Stats
from migration_plan import plan as plans
from migration_plan.ledger import Ledger

DOMAIN = "pricing"
_BILLED_MONTH = "2024-06"
_SHADOW_DEADLINE = (
    30.0  # seconds for as many comparisons as the plan asks for; after them the command says what is missing
)
_ATTEMPTS = 3  # a switch that is given up has changed nothing; a busy machine may miss the pause's budget once
_KILL_DEADLINE = 30.0  # seconds for fallback, restart and the breaker to close again


class DemoFailed(BanyanError):
    """A step of the demonstration did not do what it should."""


@dataclass(slots=True)
class Demo:
    """One run; `report` grows with each step and is the last line that is printed."""

    config: Config
    supervisor: Supervisor
    traffic: Traffic
    say: Callable[[str, str], None]
    seconds: float  # at each phase
    phases: list[str] = field(default_factory=list)
    pauses: dict[str, float] = field(default_factory=dict)
    fallbacks: int = 0
    breaker: list[str] = field(default_factory=list)
    invoices: list[dict[str, int]] = field(default_factory=list)

    def run(self) -> None:
        """legacy → shadow → canary 10 → canary 50 → service → (kill -9, restart) → canary 50; nobody may notice.

        Raises: DemoFailed.
        """
        try:
            self._run()
        except httpx.HTTPError as error:
            raise DemoFailed(f"{error}; on a machine that is very busy try again with a lower --rate") from error

    def _run(self) -> None:
        self._stay("legacy")
        self._bill()
        for phase in ("shadow", "canary 10 %", "canary 50 %"):
            self.banyan("advance", DOMAIN)
            self._stay(phase)
            if phase == "shadow":
                self._compare()
        self.pauses["switch_pause_ms"] = self._pause(self.banyan("switch", DOMAIN))
        self._stay("service")
        self._bill()
        self._kill_the_service()
        self.pauses["rollback_pause_ms"] = self._pause(self.banyan("rollback", DOMAIN))
        self._thaw()
        self._stay("canary 50 % again")
        self._bill()

    def banyan(self, *arguments: str) -> dict[str, Any]:
        """Run the command that an operator would run, and show it. Returns what it printed with --json."""
        self.say("$ banyan", f"{' '.join(arguments):<18} {story.REASONS[arguments[0]]}")
        command = [sys.executable, "-m", "banyan.cli", *arguments, "--yes", "--json", "--reason", "demonstration"]
        for left in reversed(range(_ATTEMPTS)):
            done = subprocess.run(
                command, env=self.environment(), capture_output=True, text=True, check=False, timeout=180
            )
            if done.returncode == 0:
                break
            words = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()
            if "given up" not in words[-1] or not left:
                raise DemoFailed(f"`banyan {' '.join(arguments)}` refused: {words[-1]}")
            self.say("", f"{words[-1].removeprefix('error: ')}; the same command again")
        answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return answer

    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.config.env, "BANYAN_HOME": str(self.config.home.path)}

    def gateway(self) -> dict[str, Any]:
        """The gateway's live figures of the domain."""
        response = httpx.get(
            f"{self.config['BANYAN_GATEWAY_ADMIN_URL']}/v1/status",
            headers={"Authorization": f"Bearer {self.config['GATEWAY_ADMIN_TOKEN']}"},
            timeout=5,
        )
        figures: dict[str, Any] = response.raise_for_status().json()["domains"][DOMAIN]
        return figures

    def invoices_equal(self) -> bool:
        """Did the monolith bill the same cents each time, although prices came from elsewhere in between?"""
        return bool(self.invoices) and all(self.invoices) and all(bill == self.invoices[0] for bill in self.invoices)

    def _bill(self) -> None:
        """Compute a month's invoices anew in the monolith, which reads tariffs and prices, and keep their totals."""
        response = httpx.post(
            f"{self.config['BANYAN_GATEWAY_URL']}/api/billing/run",
            json={"month": _BILLED_MONTH, "dry_run": True},
            headers={"X-Api-Key": self.config["LEGACY_BACKOFFICE_KEY"]},
            timeout=60,
        )
        if response.is_error:
            raise DemoFailed(
                f"billing: POST /api/billing/run was answered {response.status_code}: `banyan logs legacy` may say why;"
                " on a machine that is very busy try again with a lower --rate"
            )
        invoices = response.json()["invoices"]
        self.invoices.append({str(invoice["contract_id"]): invoice["total_cents"] for invoice in invoices})
        total = sum(invoice["total_cents"] for invoice in invoices)
        same = "" if len(self.invoices) == 1 else " (as before)" if self.invoices_equal() else " (NOT as before)"
        self.say("billing", f"{len(invoices)} invoices of {_BILLED_MONTH}: {total / 100:,.2f} EUR{same}")
        if not same:
            self.say("", story.REASONS["bill"])

    def _stay(self, phase: str) -> None:
        before = self.traffic.stats()
        time.sleep(self.seconds)
        now = self.traffic.stats()
        self.phases.append(phase)
        self.say(phase, story.STATIONS[phase])
        last = now.latency(since=before)
        self.say(
            "",
            f"{last.count / self.seconds:.0f} requests/s · {_shares(now, before)} · p99 {last.p99_ms:.0f} ms · "
            f"so far {now.failed} failed, {self.traffic.accepted_writes():,} writes accepted",
        )

    def _compare(self) -> None:
        """Wait until shadow has compared as many answers as the canary's gate asks for."""
        plan = plans.load(Path(named) if (named := self.environment().get("BANYAN_PLAN")) else None)
        wanted = plan.domain(DOMAIN).gates.shadow_samples
        deadline = time.monotonic() + _SHADOW_DEADLINE
        while (shadow := self.gateway()["shadow"])["compared"] < wanted and time.monotonic() < deadline:
            time.sleep(0.2)
        self.say("", f"{shadow['compared']:,} answers compared, {shadow['mismatched']} differ")

    def _thaw(self) -> None:
        """The steward saw the service die; whether it was away long enough to be frozen is up to this machine."""
        with Ledger(self.config["BANYAN_LEDGER_DSN"], "demonstration") as ledger:
            frozen = ledger.frozen().get(DOMAIN)
        if frozen is not None:
            self.say("steward", f"froze the domain, so that nobody goes on over it: {frozen.entry.reason}")
            self.banyan("unfreeze", DOMAIN)

    def _pause(self, answer: dict[str, Any]) -> float:
        pause = float(answer["pause_ms"])
        self.say("", f"the gateway kept writes waiting for {pause:.0f} ms; reads went on")
        return round(pause, 1)

    def _kill_the_service(self) -> None:
        before = self.gateway()
        child = self.supervisor.child(DOMAIN)
        self.say("$ kill -9", f"{child.pid:<18} {story.REASONS['kill']}")
        child.signal_group(signal.SIGKILL)
        deadline = time.monotonic() + _KILL_DEADLINE
        seen: list[str] = []
        while True:
            now = self.gateway()
            state = now["breakers"].get("service", "closed")
            if not seen or seen[-1] != state:
                seen.append(state)
            if "open" in seen and state == "closed" and now["health"].get("service"):
                break
            if time.monotonic() > deadline:
                raise DemoFailed(
                    f"the breaker of the service did not open and close again within {_KILL_DEADLINE:.0f} s: {seen}"
                )
            time.sleep(0.05)
        self.breaker = seen
        self.fallbacks = int(now["fallbacks"]) - int(before["fallbacks"])
        self.phases.append("service killed and back")
        self.say(
            "service killed",
            f"{self.fallbacks} reads were answered by the monolith instead; writes waited, or were told to come again",
        )
        self.say("", f"the gateway's breaker, which keeps calls away from a broken service: {' → '.join(seen)}")
        self._stay("service again")


def _shares(now: Stats, before: Stats) -> str:
    """Of the requests between two snapshots."""

    def part(kind: Kind) -> tuple[int, int]:
        at_service = now.latency(since=before, kind=kind, side="service").count
        return at_service, now.latency(since=before, kind=kind).count

    return story.shares(part("read"), part("write"))
