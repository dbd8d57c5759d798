"""The page as values: what is shown, in which words and proportions. Pure; templates and JSON only copy it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from console import words
from console.domains import DomainView, domain_view
from console.readings import Ledger, Part, Readings
from console.runs import RunView, latest, runs

State = Literal["ok", "down", "waiting"]

TITLES = {"gateway": "Gateway", "streams": "Change streams", "ledger": "Ledger", "components": "Health checks"}
#: What the page cannot show without a source.
MEANING = {
    "gateway": "phases, traffic and breakers",
    "streams": "how far the two sides are in step",
    "ledger": "steps taken and verifications",
    "components": "the health of monolith and services",
}


@dataclass(frozen=True, slots=True)
class Headline:
    """`tone` colours it, the text alone says it."""

    text: str
    lines: tuple[str, ...]
    tone: Literal["calm", "moving", "trouble", "unknown"]


@dataclass(frozen=True, slots=True)
class Component:
    """One light of the health strip."""

    name: str
    state: State
    said: str


@dataclass(frozen=True, slots=True)
class View:
    """Everything on the page."""

    at: str
    iso: str
    version: int | None
    headline: Headline
    notices: tuple[str, ...]
    components: tuple[Component, ...]
    domains: tuple[DomainView, ...]
    latest: str
    ledger: tuple[RunView, ...]
    ledger_empty: str

    @property
    def structure(self) -> str:
        """Changes when the page needs other cards, not only other figures."""
        return ",".join(domain.name for domain in self.domains)


def view(readings: Readings, configured: Sequence[str], now: datetime) -> View:
    """`configured` names the domains that are shown even when no source knows them."""
    gateway = readings.gateway.value
    known = gateway.domains if gateway else {}
    names = list(dict.fromkeys([*configured, *known]))
    domains = tuple(domain_view(name, readings, now) for name in names)
    ledger = runs(readings.ledger.value)
    return View(
        at=words.clock(now),
        iso=now.isoformat(timespec="seconds"),
        version=gateway.version if gateway else None,
        headline=headline(readings),
        notices=notices(readings),
        components=components(readings),
        domains=domains,
        latest=latest(ledger),
        ledger=ledger,
        ledger_empty=_ledger_empty(readings.ledger),
    )


def headline(readings: Readings) -> Headline:
    """The domain that has come furthest is the news, unless something is wrong or nothing is known."""
    part = readings.gateway
    if part.value is None:
        if part.failing_since is None:
            return Headline("Looking around …", ("The first answers are on their way.",), "unknown")
        since = f"Not since {words.clock(part.failing_since)} UTC, and not before in this console's life: {part.error}"
        return Headline("The gateway cannot be reached", (since,), "unknown")
    domains = part.value.domains
    away = [(name, domain) for name, domain in domains.items() if words.left_home(domain)]
    away.sort(key=lambda item: words.progress(item[1]), reverse=True)
    text, *lines = [words.standing(name, domain) for name, domain in away] or [_at_home(len(domains))]
    if away and len(away) < len(domains):
        at_home = [name for name, domain in domains.items() if not words.left_home(domain)]
        lines.append(f"{', '.join(at_home)}: still entirely at the monolith")
    if part.failing_since is not None:
        since = f"Gateway unreachable since {words.clock(part.failing_since)} UTC; this is what it said last."
        return Headline(text, (since, *lines), "unknown")
    troubles = [found for name, domain in domains.items() if (found := words.trouble(name, domain))]
    if troubles:
        return Headline(troubles[0], (*troubles[1:], text, *lines), "trouble")
    moving = any(wave.moving for domain in domains.values() for wave in domain.waves)
    return Headline(text, tuple(lines), "moving" if moving else "calm")


def _at_home(domains: int) -> str:
    return (
        "Nothing has moved yet: the monolith answers everything" if domains else "No domain is in the route table yet"
    )


def notices(readings: Readings) -> tuple[str, ...]:
    """One line for every source that is silent: which, since when, why, and what is missing on the page."""
    found = []
    for name, title in TITLES.items():
        part: Part[Any] = getattr(readings, name)
        if part.failing_since is None:
            continue
        kept = f"shown as of {words.clock(part.at)}" if part.at else "not shown"
        since = words.clock(part.failing_since)
        found.append(f"{title} unreachable since {since} UTC ({part.error}): {MEANING[name]} {kept}.")
    return tuple(found)


def components(readings: Readings) -> tuple[Component, ...]:
    """The gateway first, then what stands behind it; streams are one light, which names those that are out."""
    found = [_source("gateway", readings.gateway)]
    found += [_light(name, readings.components, well) for name, well in (readings.components.value or {}).items()]
    if streams := readings.streams.value:
        out = [name for name, stream in streams.items() if not stream.answers]
        light = _light(f"{len(streams)} change streams", readings.streams, not out)
        said = f"no answer from {', '.join(out)}" if light.state == "down" else light.said
        found.append(Component(light.name, light.state, said))
    return (*found, _source("ledger", readings.ledger))


def _source(name: str, part: Part[Any]) -> Component:
    if part.ok:
        return Component(name, "ok", "answers")
    if part.failing_since is None:
        return Component(name, "waiting", "not asked yet")
    return Component(name, "down", f"no answer since {words.clock(part.failing_since)} UTC")


def _light(name: str, part: Part[Any], well: bool) -> Component:
    if part.failing_since is not None:
        return Component(name, "waiting", f"not known since {words.clock(part.failing_since)} UTC")
    return Component(name, "ok", "answers") if well else Component(name, "down", "does not answer")


def _ledger_empty(part: Part[Ledger]) -> str:
    if part.value is not None:
        return "No step has been taken yet. The first one is `banyan shadow <domain>`."
    return "The ledger has not been read yet." if part.failing_since is None else "The ledger cannot be read."
