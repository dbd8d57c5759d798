"""The demonstration: pricing moves to its service and back while independent clients read and write without pause."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from banyan.errors import BanyanError
from banyan.stack.config import Config
from banyan.stack.supervisor import Supervisor
from banyan.stack.traffic import Traffic

DOMAIN = "pricing"
_BILLED_MONTH = "2024-06"
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
        """legacy → shadow → canary 10 → canary 50 → service → (kill -9, restart) → back; nobody may notice."""
        self._stay("legacy")
        self._bill()
        for phase, *arguments in (["shadow", "advance"], ["canary 10 %", "advance"], ["canary 50 %", "advance"]):
            self.banyan(*arguments, DOMAIN)
            self._stay(phase)
        self.pauses["switch_pause_ms"] = self._pause(self.banyan("switch", DOMAIN))
        self._stay("service")
        self._bill()
        self._kill_the_service()
        self.pauses["rollback_pause_ms"] = self._pause(self.banyan("rollback", DOMAIN))
        self._stay("rolled back")
        self._bill()

    def banyan(self, *arguments: str) -> dict[str, Any]:
        """Run the command that an operator would run, and show it. Returns what it printed with --json."""
        self.say("$ banyan", " ".join(arguments))
        command = [sys.executable, "-m", "banyan.cli", *arguments, "--yes", "--json", "--reason", "demonstration"]
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, check=False, timeout=180)
        if done.returncode != 0:
            words = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()
            raise DemoFailed(f"`banyan {' '.join(arguments)}` refused: {words[-1]}")
        answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return answer

    def environment(self) -> dict[str, str]:
        import os

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
        invoices = response.raise_for_status().json()["invoices"]
        self.invoices.append({str(invoice["contract_id"]): invoice["total_cents"] for invoice in invoices})
        total = sum(invoice["total_cents"] for invoice in invoices)
        self.say("billing", f"{len(invoices)} invoices of {_BILLED_MONTH}: {total / 100:,.2f} EUR")

    def _stay(self, phase: str) -> None:
        before = self.traffic.stats()
        time.sleep(self.seconds)
        now = self.traffic.stats()
        rate = (now.requests - before.requests) / self.seconds
        sides = {side: now.by_side.get(side, 0) - before.by_side.get(side, 0) for side in ("legacy", "service")}
        total = max(1, sum(sides.values()))
        self.phases.append(phase)
        self.say(
            phase,
            f"{rate:4.0f} requests/s · {sides['service'] / total:4.0%} at the service · p99 {now.p99_ms:.0f} ms · "
            f"failed {now.failed} · writes accepted {self.traffic.accepted_writes()}",
        )

    def _pause(self, answer: dict[str, Any]) -> float:
        pause = float(answer["pause_ms"])
        self.say(
            "", f"writes waited {pause:.0f} ms; nobody was refused" if pause < 1000 else f"writes waited {pause:.0f} ms"
        )
        return round(pause, 1)

    def _kill_the_service(self) -> None:
        before = self.gateway()
        child = self.supervisor.child(DOMAIN)
        self.say("$ kill -9", f"{child.pid}   (the pricing service and its workers)")
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
        self.say("service killed", f"{self.fallbacks} reads fell back to the monolith; breaker {' → '.join(seen)}")
        self._stay("service again")
