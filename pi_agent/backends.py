"""The two backends' contracts as exchanges: the monolith's (`legacy`) and the device service's (`v2`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from enum import Enum
from typing import Any, Protocol, TypeVar

from pi_agent.errors import Malformed, Refused, SlotError
from pi_agent.exchange import Exchange, Request, Response, expect, json_object
from pi_agent.model import Ack, AckState, Command, Document, Mode, Schedule, Slot
from pi_agent.slots import MAX_SLOTS, checked, earliest_instant, parse_clock, parse_text

T = TypeVar("T")

#: The service keeps nobody waiting longer.
MAX_WAIT_S = 60
#: More commands than this for one battery is not a sane answer.
MAX_COMMANDS = 100


class Verdict(Enum):
    """What became of an ack."""

    ACCEPTED = "accepted"
    REFUSED = "refused"


class Backend(Protocol):
    """A contract with the server side. Exchanges raise ExchangeError when nothing was settled."""

    @property
    def name(self) -> str: ...

    @property
    def batch(self) -> int:
        """How many acks one `deliver` may take."""

    def fetch(self, etag: str | None, wait_s: float = 0, epoch: int = 0) -> Exchange[Fetched]:
        """The schedule and commands, for which the server may wait `wait_s`. `epoch`: the highest that was seen."""

    def deliver(self, acks: Sequence[Ack], epoch: int = 0) -> Exchange[list[Verdict]]:
        """A verdict for each ack. A 4xx is one, unless it says "later" (408, 421, 425, 429, a stale assignment)."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """`document`: None when nothing changed. `waited`: the server keeps polls waiting, so the next may come at once."""

    document: Document | None
    waited: bool = False


EPOCH_HEADER = "Banyan-Assignment-Epoch"
STALE = "urn:banyan:stale-assignment"
#: Answers of 400…499 that say "later" rather than "no"; 421: the domain is changing hands.
TRANSIENT = frozenset({408, 421, 425, 429})


def verdict(response: Response, *accepted: int) -> Verdict:
    """Raises: Refused when the answer settles nothing."""
    if response.status in accepted:
        return Verdict.ACCEPTED
    if response.status == 409 and STALE.encode() in response.content:
        raise Refused(409, response.retry_after)
    if 400 <= response.status < 500 and response.status not in TRANSIENT:
        return Verdict.REFUSED
    raise Refused(response.status, response.retry_after)


@dataclass(frozen=True, slots=True)
class LegacyBackend:
    """Slots as text, one-letter states, naive local times; one ack a call."""

    device_id: int
    token: str
    zone: tzinfo
    name: str = "legacy"
    batch: int = 1

    def _headers(self) -> dict[str, str]:
        return {"X-Device-Token": self.token}

    def fetch(self, etag: str | None, wait_s: float = 0, epoch: int = 0) -> Exchange[Fetched]:
        response = yield Request("GET", f"/get-schedule/{self.device_id}", self._headers())
        body = json_object(expect(response, 200))
        return Fetched(read(lambda: self._document(body)))

    def _document(self, body: dict[str, Any]) -> Document:
        _own(body, self.device_id)
        schedule = Schedule(_integer(body["version"]), parse_text(_text(body["slots"])))
        commands = [
            Command(
                ref=_ref(c["ref"]),
                mode=Mode.read(c["mode"]),
                power_w=_integer(c["power_w"]),
                issued_at=earliest_instant(datetime.fromisoformat(c["issued"]), self.zone),
                expires_at=earliest_instant(datetime.fromisoformat(c["expires"]), self.zone),
            )
            for c in body.get("commands", ())[:MAX_COMMANDS]
        ]
        return Document(schedule, tuple(commands))

    def deliver(self, acks: Sequence[Ack], epoch: int = 0) -> Exchange[list[Verdict]]:
        verdicts = []
        for ack in acks:
            observed = f"{ack.observed_at.astimezone(self.zone):%Y-%m-%dT%H:%M:%S}"
            body = {"ref": ack.ref, "state": LEGACY_STATES[ack.state], "observed": observed, "note": ack.note}
            response = yield Request("POST", f"/api/devices/{self.device_id}/acks", self._headers(), body)
            verdicts.append(verdict(response, 200, 201))
        return verdicts


#: The monolith does not tell a rejected command from a failed one.
LEGACY_STATES = {
    AckState.DELIVERED: "D",
    AckState.SUCCEEDED: "S",
    AckState.FAILED: "F",
    AckState.REJECTED: "F",
    AckState.EXPIRED: "X",
}


@dataclass(frozen=True, slots=True)
class ServiceBackend:
    """UTC, words, ETags; acks in batches."""

    device_id: int
    token: str
    name: str = "v2"
    batch: int = 50

    def _headers(self, epoch: int) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} | ({EPOCH_HEADER: str(epoch)} if epoch else {})

    def fetch(self, etag: str | None, wait_s: float = 0, epoch: int = 0) -> Exchange[Fetched]:
        headers = self._headers(epoch) | ({"If-None-Match": etag} if etag else {})
        wait = int(min(wait_s, MAX_WAIT_S))
        headers |= {"Prefer": f"wait={wait}"} if wait else {}
        response = yield Request("GET", f"/v2/devices/{self.device_id}/schedule", headers, to="service", wait_s=wait)
        waited = "wait" in response.headers.get("preference-applied", "")
        if expect(response, 200, 304).status == 304:
            return Fetched(None, waited)
        body = json_object(response)
        return Fetched(read(lambda: self._document(body, response.headers.get("etag"))), waited)

    def report(self, body: dict[str, Any], epoch: int = 0) -> Exchange[float | None]:
        """What the battery does now; gives the server's clock minus ours in seconds, if it says so."""
        response = yield Request(
            "PUT", f"/v2/devices/{self.device_id}/reported", self._headers(epoch), body, to="service"
        )
        skew = json_object(expect(response, 200)).get("clock_skew_ms")
        return skew / 1000 if isinstance(skew, int | float) and abs(skew) < 1e12 else None

    def _document(self, body: dict[str, Any], etag: str | None) -> Document:
        _own(body, self.device_id)
        fallback = body.get("fallback") or {}
        given = fallback.get("version", 0) != 0
        commands = [
            Command(
                ref=_ref(c["ref"]),
                mode=Mode.read(c["mode"]),
                power_w=_integer(c["power_w"]),
                issued_at=_instant(c["issued_at"]),
                expires_at=_instant(c["expires_at"]),
                epoch=_epoch(c),
                supersedes=None if c.get("supersedes") is None else _ref(c["supersedes"]),
            )
            for c in body.get("commands", ())[:MAX_COMMANDS]
        ]
        schedule = Schedule(
            _integer(body["version"]),
            _slots(body["slots"]),
            _slots(fallback["slots"]) if given else None,
            float(_integer(fallback["after_s"])) if given else None,
        )
        return Document(schedule, tuple(commands), etag, _epoch(body), complete=len(commands) < MAX_COMMANDS)

    def deliver(self, acks: Sequence[Ack], epoch: int = 0) -> Exchange[list[Verdict]]:
        """A refused batch is sent again one by one, so that a single bad ack does not take the others with it."""
        outcome = yield from self._post(acks, epoch)
        if outcome is Verdict.ACCEPTED or len(acks) == 1:
            return [outcome] * len(acks)
        verdicts = []
        for ack in acks:
            verdicts.append((yield from self._post([ack], epoch)))
        return verdicts

    def _post(self, acks: Sequence[Ack], epoch: int) -> Exchange[Verdict]:
        body = {"acks": [_ack(ack) for ack in acks]}
        response = yield Request("POST", f"/v2/devices/{self.device_id}/acks", self._headers(epoch), body, to="service")
        return verdict(response, 200, 201)


def _ack(ack: Ack) -> dict[str, str]:
    return {"ref": ack.ref, "state": ack.state.value, "observed_at": _rfc3339(ack.observed_at), "note": ack.note}


def _slots(items: list[dict[str, Any]]) -> tuple[Slot, ...]:
    return checked(
        Slot(
            starts=parse_clock(_text(s["from"])),
            ends=parse_clock(_text(s["to"])),
            mode=Mode.read(s["mode"]),
            power_w=_integer(s["power_w"]),
        )
        for s in items[: MAX_SLOTS + 1]
    )


def _own(body: dict[str, Any], device_id: int) -> None:
    if body.get("device_id", device_id) != device_id:
        raise ValueError(f"it is the schedule of device {body['device_id']!r}")


def _epoch(body: dict[str, Any]) -> int | None:
    value = body.get("assignment_epoch")
    return None if value is None else _integer(value)


def _rfc3339(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _instant(value: object) -> datetime:
    instant = datetime.fromisoformat(_text(value))
    if instant.tzinfo is None:
        raise ValueError(f"{value!r} has no offset")
    return instant.astimezone(UTC)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {type(value).__name__}")
    return value


def _ref(value: object) -> str:
    text = _text(value)
    if not 0 < len(text) <= 64:
        raise ValueError("a ref has 1 to 64 characters")
    return text


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"expected a whole number of 0 or more, got {value!r}")
    return value


def read(build: Callable[[], T]) -> T:
    """The value, with whatever is wrong in an answer told as one error. Raises: Malformed."""
    try:
        return build()
    except (SlotError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise Malformed(f"the schedule cannot be read: {type(error).__name__} {error}") from error
