"""Service level objectives of a Locust run: when one is missed, the run's exit code says so."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Objectives:
    """No failed request; the slowest of a hundred within `p99_ms`; nobody waits longer than `longest_ms`."""

    failed_percent: float = 0.0
    p99_ms: float = 500.0
    longest_ms: float = 2000.0

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Objectives:
        """LOAD_SLO_FAILED_PERCENT, LOAD_SLO_P99_MS, LOAD_SLO_LONGEST_MS. Raises: ValueError."""
        chosen = {}
        for name in ("failed_percent", "p99_ms", "longest_ms"):
            text = env.get(f"LOAD_SLO_{name.upper()}")
            if text:
                try:
                    chosen[name] = float(text)
                except ValueError:
                    raise ValueError(f"LOAD_SLO_{name.upper()} must be a number, not {text!r}") from None
        return cls(**chosen)

    def missed(self, requests: int, failed: int, p99_ms: float, longest_ms: float) -> list[str]:
        """One line for each objective that was not met."""
        if requests == 0:
            return ["no request was made"]
        lines = []
        if 100 * failed / requests > self.failed_percent:
            lines.append(f"{failed} of {requests} requests failed; at most {self.failed_percent:g} % may")
        if p99_ms > self.p99_ms:
            lines.append(f"p99 was {p99_ms:.0f} ms; {self.p99_ms:.0f} ms wanted")
        if longest_ms > self.longest_ms:
            lines.append(f"the slowest request took {longest_ms:.0f} ms; {self.longest_ms:.0f} ms wanted")
        return lines


def watch(objectives: Objectives) -> None:
    """Judge every run of this Locust process at its end."""
    from locust import events  # patches the whole process for gevent: only where Locust itself runs

    @events.quitting.add_listener
    def judge(environment: Any, **_: Any) -> None:
        total = environment.stats.total
        p99 = total.get_response_time_percentile(0.99) or 0.0
        missed = objectives.missed(total.num_requests, total.num_failures, p99, total.max_response_time)
        missed += getattr(environment, "banyan_problems", [])
        for line in missed:
            print(f"objective missed: {line}")
        environment.process_exit_code = 1 if missed else 0
