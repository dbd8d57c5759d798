"""What a verb came to, as a value that prints and serialises."""

from __future__ import annotations

from typing import Any

import msgspec

from migration_plan.gates import Finding


class Gate(msgspec.Struct, frozen=True):
    gate: str
    verdict: str
    measured: str
    help: str

    @classmethod
    def of(cls, finding: Finding) -> Gate:
        return cls(finding.gate, finding.verdict, finding.measured, finding.help)


class Result(msgspec.Struct, frozen=True):
    """`changed` is false when there was nothing to do, and for a dry run. Times are milliseconds.

    `refusal`: of a dry run, each reason why the step would be refused now; none when it would be done.
    `predicted_interval_ms`: nine of ten pauses lie in it. `rollback_loses`: of a dry run of a switch, what the way back
    does not bring back.
    """

    verb: str
    domain: str
    wave: int
    before: str
    after: str
    changed: bool
    message: str
    run_id: str | None = None
    dry_run: bool = False
    refusal: list[str] = []
    steps: list[str] = []
    rollback_loses: list[str] = []
    gates: list[Gate] = []
    predicted_pause_ms: float | None = None
    predicted_interval_ms: tuple[float, float] | None = None
    pause_ms: float | None = None
    attempts: int | None = None
    step_ms: dict[str, float] = {}
    owner: str | None = None
    epoch: int | None = None
    repaired: str | None = None
    verify: dict[str, Any] = {}
    published: dict[str, Any] = {}

    def to_json(self) -> bytes:
        return msgspec.json.encode(self)
