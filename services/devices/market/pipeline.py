"""From a price to commands, in two steps over the outbox: which batteries are concerned, and what each should do.

A tick is a message of one minute, made once however many processes look (its id is that of area and minute). Both
steps let a message die that comes later than its minute, so nothing old piles up after an outage; the next minute says
all that matters. Exactly one side's commands stand: a reference names minute and device, as the monolith's do, and the
guard refuses what another side owns, which is counted and left alone.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.chassis.messages import Consumer, Message, put_once
from services.devices.market import policy as policies
from services.devices.market import writing
from services.devices.market.decide import CODES, MODES, Fleet, Rules, by_price, decide
from services.devices.market.metrics import MarketMetrics
from services.devices.market.policy import Policy
from services.devices.market.prices import Price
from services.devices.store import fleet, imbalance
from services.devices.store.fleet import Member, NewCommand

log = structlog.get_logger()

TICK = "imbalance.tick"
DECIDE = "batteries.decide"
#: A message that is older than this is the next minute's matter.
MESSAGE_LIFE = timedelta(seconds=60)
#: A command that a device gets later than this does harm; each minute renews it. The monolith's too.
COMMAND_LIFE = timedelta(minutes=2)
#: Batteries in one message, so in one transaction: short enough for a switch's fence to wait for.
PART = 500
_NAMESPACE = uuid.UUID("6f0b1b52-0f5c-4c55-9d0e-3d9f6f1f7a10")


@dataclass(frozen=True, slots=True)
class Tick:
    area: str
    minute: datetime
    price: float
    expires_at: datetime

    def payload(self) -> dict[str, Any]:
        times = {"minute": self.minute.isoformat(), "expires_at": self.expires_at.isoformat()}
        return {"area": self.area, "price": self.price, **times}

    @classmethod
    def of(cls, payload: dict[str, Any]) -> Tick:
        minute, expires_at = (datetime.fromisoformat(payload[name]) for name in ("minute", "expires_at"))
        return cls(payload["area"], minute, payload["price"], expires_at)


class Pipeline:
    """`now` is asked when a message is handled, which may be long after it was made."""

    def __init__(
        self, metrics: MarketMetrics, rules: Rules = Rules(), now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._metrics = metrics
        self._rules = rules
        self._now = now
        self._newest: tuple[Tick, Policy] | None = None

    def consumers(self) -> list[Consumer]:
        return [
            Consumer("imbalance processor", TICK, self.choose),
            Consumer("battery processor", DECIDE, self.command),
        ]

    async def tick(self, connection: AsyncConnection, price: Price | None, now: datetime) -> bool:
        """Tell this minute's price, unless it was told or says nothing about now."""
        if price is None or not price.is_fresh(now):
            return False
        minute = now.astimezone(UTC).replace(second=0, microsecond=0)
        told = Tick(price.area, minute, float(price.price), now + MESSAGE_LIFE)
        return await put_once(connection, TICK, told.payload(), _id(TICK, told.area, minute))

    async def choose(self, connection: AsyncConnection, message: Message) -> None:
        """The imbalance processor: batteries for which there may be something to do, or that are doing something."""
        tick = Tick.of(message.payload)
        if self._is_stale(tick, TICK):
            return
        policy = await self._policy(connection, tick)
        members = await fleet.active(connection)
        ids = concerned(members, policy, tick, self._rules)
        for start in range(0, len(ids), PART):
            part = {**tick.payload(), "ids": ids[start : start + PART]}
            await put_once(connection, DECIDE, part, _id(DECIDE, tick.area, tick.minute, start))

    async def command(self, connection: AsyncConnection, message: Message) -> None:
        """The battery processor: charge, discharge or follow the schedule, and a command for those that act."""
        tick = Tick.of(message.payload)
        if self._is_stale(tick, DECIDE):
            return
        policy = await self._policy(connection, tick)
        members = await fleet.active(connection, message.payload["ids"])
        began = time.perf_counter()
        modes = decide(tick.price, policy, as_arrays(members, tick.minute), self._rules)
        self._metrics.seconds.observe(time.perf_counter() - began)
        decided = {member.id: MODES[int(mode)] for member, mode in zip(members, modes, strict=True)}
        commands = [
            NewCommand(member.id, ref(member.id, tick.minute), decided[member.id], member.max_power_w)
            for member in members
            if decided[member.id] != "idle"
        ]
        issued = tick.expires_at - MESSAGE_LIFE
        done = await writing.write(connection, commands, issued, issued + COMMAND_LIFE)
        foreign = set(done.foreign)
        # What another side's battery does is not ours to remember.
        await fleet.decided(connection, {id_: mode for id_, mode in decided.items() if id_ not in foreign}, tick.minute)
        self._count(done, len(members) - len(commands))

    def _count(self, done: writing.Written, idle: int) -> None:
        counts = {"written": done.written, "repeated": done.repeated, "foreign": len(done.foreign), "idle": idle}
        for result, count in counts.items():
            self._metrics.commands.labels(result).inc(count)
        log.info("market", **counts)

    def _is_stale(self, tick: Tick, topic: str) -> bool:
        if self._now() < tick.expires_at:
            return False
        self._metrics.stale.labels(topic).inc()
        return True

    async def _policy(self, connection: AsyncConnection, tick: Tick) -> Policy:
        """Made once a minute: every part of the fleet gets the same."""
        if self._newest is None or self._newest[0] != tick:
            usual = await imbalance.usual(connection, tick.area, tick.minute)
            self._newest = tick, policies.policy(policies.expected(tick.price, coming(usual, tick)))
        return self._newest[1]


def coming(usual: dict[int, float], tick: Tick) -> list[float]:
    """The usual prices of the coming quarter-hours; where there is no history, the mean of what there is."""
    mean = sum(usual.values()) / len(usual) if usual else tick.price
    first = int(tick.minute.timestamp()) // 900
    return [usual.get((first + n) % policies.QUARTERS, mean) for n in range(policies.QUARTERS)]


def ref(device_id: int, minute: datetime) -> str:
    """The same as the monolith's, so that a minute in which a wave moves gives a device one command."""
    return f"imb-{minute:%Y%m%d%H%M}-{device_id}"


def as_arrays(members: Sequence[Member], now: datetime) -> Fleet:
    capacity, power = (
        np.array([getattr(m, name) for m in members], dtype=np.int64) for name in ("capacity_wh", "max_power_w")
    )
    return Fleet(
        kind=policies.classes(capacity, power),
        soc=np.array([np.nan if m.soc is None else m.soc for m in members], dtype=np.float64),
        soc_age_s=np.array([_age(m.soc_at, now) for m in members], dtype=np.float64),
        mode=np.array([CODES[m.mode] for m in members], dtype=np.int8),
        mode_s=np.array([_age(m.since, now) for m in members], dtype=np.float64),
    )


def concerned(members: Sequence[Member], policy: Policy, tick: Tick, rules: Rules) -> list[int]:
    """Who must be looked at: ordered as waves are cut, so that a part of the fleet mostly has one owner."""
    if not members:
        return []
    arrays = as_arrays(members, tick.minute)
    idle_class = policy.has_nothing_to_do(rules.begin_gain)[arrays.kind]
    looked = ~idle_class | (arrays.mode != 0) | (by_price(tick.price, rules) != 0)
    ids = [member.id for member, yes in zip(members, looked, strict=True) if yes]
    return sorted(ids, key=lambda id_: (writing.bucket(id_), id_))


def _age(at: datetime | None, now: datetime) -> float:
    return float("inf") if at is None else (now - at).total_seconds()


def _id(*parts: object) -> uuid.UUID:
    return uuid.uuid5(_NAMESPACE, " ".join(map(str, parts)))
