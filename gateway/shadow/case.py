"""One copy with what it is judged by; whether the table still asks for it; and the answers to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.shadow.answer import Answer
from gateway.shadow.capture import Copy
from gateway.shadow.compare import Difference
from gateway.shadow.policy import DomainPolicy, OperationPolicy
from gateway.shadow.tally import Tally


class Withdrawn(Exception):
    """The table has changed since the copy was made, and does not ask for it any more."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Both answers, and all in which they differ."""

    legacy: Answer
    service: Answer
    differences: list[Difference]


@dataclass(frozen=True, slots=True)
class Case:
    """`policy`, `known`: as they were when the judging began."""

    copy: Copy
    policy: DomainPolicy
    known: OperationPolicy
    tally: Tally

    def stands(self, policies: Mapping[str, DomainPolicy]) -> bool:
        """By the table of now: since it was asked last a hold or another phase may have begun, or other rules count."""
        copy, policy = self.copy, policies.get(self.copy.domain)
        known = policy.operations.get(copy.operation) if policy is not None else None
        if policy is None or known is None or known.mark != self.known.mark:
            return False
        return policy.asks_for(read=copy.method == b"GET", bucket=copy.bucket, upstreams={copy.primary, copy.other})

    def surprises(self, differences: Sequence[Difference]) -> list[Difference]:
        """All but what legacy is known to differ in with itself."""
        return [found for found in differences if not self.tally.is_noise(found.field, self.policy.thresholds)]

    def shown(self, upstream: str, one: Answer, other: Answer) -> tuple[Answer, Answer]:
        """Two answers of one side, as clients would be told them."""
        return self.copy.shown.of(one, upstream), self.copy.shown.of(other, upstream)
