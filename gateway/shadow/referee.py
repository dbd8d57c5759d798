"""Asks the other side, decides whether what differs counts, and keeps the score."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gateway.http1.pool import Pool
from gateway.meter import Meter
from gateway.shadow.answer import Answer
from gateway.shadow.capture import Copy
from gateway.shadow.case import Case, Pair, Withdrawn
from gateway.shadow.compare import Difference, compare_in_slices
from gateway.shadow.fetch import fetch
from gateway.shadow.policy import DomainPolicy, OperationPolicy
from gateway.shadow.samples import Samples, shown_answer, shown_fields, shown_target
from gateway.shadow.tally import EARLY, Tally

TIMEOUT = 5.0
BLIND_SECONDS = 0.3  # how long the other side gets to catch up when the watermark is not known
PATIENCE = 5.0  # seconds to wait for the watermark; with a sync that lags more nothing can be said of the answers
ROUNDS = 3  # a resource that changes all the time is given up after so many, as unsettled
DRY_RUN = b"Banyan-Dry-Run: 1\r\n"


class Referee:
    def __init__(
        self,
        pools: Callable[[], Mapping[str, Pool]],
        meter: Meter,
        watermarks: Callable[[], Mapping[str, float]],
    ) -> None:
        self._pools = pools
        self._meter = meter
        self._watermarks = watermarks
        self.tallies: dict[tuple[str, str], tuple[str, Tally]] = {}  # (domain, operation) → (mark, counts)
        self.samples = Samples()
        self._policies: Mapping[str, DomainPolicy] = {}  # of the table of now
        self._proven: set[str] = set()  # domains whose service has shown that it rehearses
        self._trial = asyncio.Lock()
        self.refusing: set[str] = set()  # domains whose service answered a dry run as if it were the real thing

    def take(self, policies: Mapping[str, DomainPolicy]) -> None:
        """What was counted by other rules is forgotten. A service that did not rehearse is asked again only after
        somebody has set the domain's `shadow_writes` to 0."""
        marks = {(name, op): known.mark for name, policy in policies.items() for op, known in policy.operations.items()}
        self.tallies = {key: kept for key, kept in self.tallies.items() if marks.get(key) == kept[0]}
        self._policies = policies
        self._proven &= {name for name, policy in policies.items() if policy.rehearsing and policy.writes}
        self.refusing = {name for name in self.refusing if name in policies and policies[name].writes}

    def tally(self, domain: str, operation: str, mark: str) -> Tally:
        kept = self.tallies.get((domain, operation))
        if kept is None or kept[0] != mark:
            kept = self.tallies[(domain, operation)] = (mark, Tally())
        return kept[1]

    async def judge(self, copy: Copy, policy: DomainPolicy, known: OperationPolicy) -> None:
        """Raises: FetchFailed, Incomparable, KeyError; Withdrawn."""
        case = Case(copy, policy, known, self.tally(copy.domain, copy.operation, known.mark))
        if copy.method == b"GET":
            await self._judge_read(case)
            early = case.tally.twice < EARLY and policy.noise
            if early or random.random() * 100 < policy.noise:  # noqa: S311
                await self._learn_noise(case)
        else:
            await self._judge_write(case)

    # reads

    async def _judge_read(self, case: Case) -> None:
        pair: Pair | None = await self._pair(case, case.copy.capture.answer(), await self._ask(case, case.copy.other))
        if pair is not None and case.surprises(pair.differences):
            pair = await self._settle(case)
        if pair is not None:
            self._count(case, pair)
        else:
            case.tally.unsettled += 1
            self._meter.count(case.copy.domain, "shadow_unsettled")

    async def _settle(self, case: Case) -> Pair | None:
        """Was it only lag? A difference counts when the primary stood still while the other side caught up with it.

        1. ask the primary, which has answered by time t: its answer may hold what was written just before; 2. wait
        until each side has everything of the other up to t: in a canary it is the primary that may be behind; 3. ask
        the other side; 4. ask the primary again. Nothing new in 3: it was lag. A field that differs in 3 and is the
        same in 1 and 4: a mismatch. Otherwise somebody wrote, or something arrived, in between: once more.
        """
        copy = case.copy
        for _ in range(ROUNDS):
            before = await self._ask(case, copy.primary)
            if not await self._caught_up(copy.domain, time.time()):
                return None
            pair = await self._pair(case, before, await self._ask(case, copy.other))
            surprises = case.surprises(pair.differences)
            if not surprises:
                return pair
            after = await self._ask(case, copy.primary)
            moved = await compare_in_slices(*case.shown(copy.primary, before, after), case.known.rules)
            stood = [found for found in surprises if not _touched(found.field, moved)]
            if stood:
                return Pair(pair.legacy, pair.service, stood + [d for d in pair.differences if d not in surprises])
        return None

    async def _caught_up(self, domain: str, moment: float) -> bool:
        """Whether all that was written before `moment` is on both sides now. Guessed where no watermark is known."""
        streams = (f"{domain}.forward", f"{domain}.reverse")
        deadline = time.monotonic() + PATIENCE
        while known := [at for stream in streams if (at := self._watermarks().get(stream)) is not None]:
            if min(known) > moment:
                return True
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.05)
        await asyncio.sleep(BLIND_SECONDS)
        return True

    async def _learn_noise(self, case: Case) -> None:
        """In what does legacy differ with itself, asked twice in a row?"""
        one = await self._ask(case, "legacy")
        other = await self._ask(case, "legacy")
        case.tally.add_noise(await compare_in_slices(*case.shown("legacy", one, other), case.known.rules))

    # writes

    async def _judge_write(self, case: Case) -> None:
        """Legacy has committed it. The service's dry run may find the world before the write, or after it has arrived:
        it differs only if it differs in both."""
        copy = case.copy
        said = copy.capture.answer()
        pair = await self._rehearsed(case, said)
        if pair is not None and case.surprises(pair.differences) and await self._caught_up(copy.domain, time.time()):
            later = await self._rehearsed(case, said)
            if later is not None and not case.surprises(later.differences):
                pair = later
        if pair is not None:
            self._meter.count(copy.domain, "shadow_rehearsed")
            self._count(case, pair)

    async def _rehearsed(self, case: Case, said: Answer) -> Pair | None:
        """None: the service did not rehearse. One that ignores the header may have kept the write: never again."""
        if case.copy.domain in self._proven:
            return await self._rehearse(case, said)
        async with self._trial:  # one at a time, so that no second write is at risk
            return await self._rehearse(case, said)

    async def _rehearse(self, case: Case, said: Answer) -> Pair | None:
        copy = case.copy
        if copy.domain in self.refusing:
            return None
        answer = await self._ask(case, copy.other, DRY_RUN)
        if answer.header(b"banyan-dry-run") != b"1":
            if answer.status < 300:
                self.refusing.add(copy.domain)
            self._meter.count(copy.domain, "shadow_unrehearsed")
            return None
        if case.stands(self._policies):
            self._proven.add(copy.domain)
        if answer.status == 421:  # its database lets nobody write, not even to try
            self._meter.count(copy.domain, "shadow_unrehearsed")
            return None
        return await self._pair(case, said, answer)

    # both

    async def _ask(self, case: Case, upstream: str, *extra: bytes) -> Answer:
        """Raises: Withdrawn, and what `fetch` raises."""
        if not case.stands(self._policies):
            raise Withdrawn
        return await fetch(self._pools()[upstream], case.copy.method, case.copy.request(upstream, *extra), TIMEOUT)

    async def _pair(self, case: Case, primary: Answer, other: Answer) -> Pair:
        copy = case.copy
        primary, other = copy.shown.of(primary, copy.primary), copy.shown.of(other, copy.other)
        legacy, service = (primary, other) if copy.side == "legacy" else (other, primary)
        return Pair(legacy, service, await compare_in_slices(legacy, service, case.known.rules))

    def _count(self, case: Case, pair: Pair) -> None:
        copy, tally = case.copy, case.tally
        tally.add(pair.differences)
        self._meter.count(copy.domain, "shadow_compared")
        surprises = case.surprises(pair.differences)
        if not surprises:
            return
        tally.mismatched += 1
        self._meter.count(copy.domain, "shadow_mismatched")
        now = time.time()
        if self.samples.wants(now, copy.domain, copy.operation, surprises[0].field):
            rules = case.known.rules
            self.samples.add(
                {
                    "at": now,
                    "domain": copy.domain,
                    "operation": copy.operation,
                    "method": copy.method.decode(),
                    "target": shown_target(copy.target),
                    "fields": shown_fields(surprises, rules),
                    "legacy": shown_answer(pair.legacy, rules),
                    "service": shown_answer(pair.service, rules),
                }
            )

    def snapshot(self) -> dict[str, Any]:
        return {
            "operations": [
                {"domain": domain, "operation": operation, "mark": mark, **tally.snapshot()}
                for (domain, operation), (mark, tally) in self.tallies.items()
            ],
            "refusing": sorted(self.refusing),
        }


def _touched(field: str, moved: Sequence[Difference]) -> bool:
    """Something at this field, around it or in it changed."""
    return any(field.startswith(found.field) or found.field.startswith(field) for found in moved)
