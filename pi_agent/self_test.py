"""`self-test`: is everything there that the agent needs? Each finding says what helps. The battery stays as it is.

Where an agent runs on the same state, its journal and its battery are its own: they are left alone.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass

from pi_agent import drivers, flags
from pi_agent.backends import LegacyBackend, ServiceBackend
from pi_agent.clock import AMSTERDAM, SystemClock
from pi_agent.config import Config
from pi_agent.errors import AgentError, ExchangeError, Refused
from pi_agent.exchange import Exchange, Response, watched
from pi_agent.store import Store
from pi_agent.timekeeping import Timekeeper
from pi_agent.transport import Transport


@dataclass(frozen=True, slots=True)
class Finding:
    name: str
    well: bool
    detail: str


async def run(config: Config) -> list[Finding]:
    """All findings; none of them ends the others."""
    clock = SystemClock()
    found = [_token(config)]
    journal, ours = _journal(config)
    found.append(journal)
    found.append(_battery(config, clock) if ours else Finding("battery", True, "left alone: the agent runs"))
    transport, timekeeper = Transport(config.addresses, config.timing.request_timeout_s, clock), Timekeeper()

    def look(response: Response) -> None:
        timekeeper.note(response.headers.get("date"), clock.monotonic())

    try:
        found.append(await _asks("gateway", transport, watched(_legacy(config), look)))
        if config.flags_url:
            found.append(await _asks("flags", transport, _flag(config)))
        if config.service_url:
            found.append(await _asks("service", transport, watched(_service(config), look)))
    finally:
        await transport.close()
    found.append(_clock(config, timekeeper, clock))
    return found


def _token(config: Config) -> Finding:
    """The configuration was read, so the token could be; may others read it?"""
    path = config.token_file
    if path is not None and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return Finding("token", False, f"others may read {path}: chmod 600 {path}")
    return Finding("token", True, "read, and nobody else can")


def _journal(config: Config) -> tuple[Finding, bool]:
    """And whether no agent runs here."""
    try:
        store = Store(config.database)
    except (AgentError, OSError) as error:
        busy = "another agent" in str(error)
        return Finding("journal", busy, "left alone: the agent runs" if busy else str(error)), not busy
    try:
        store.set("self-test", SystemClock().now().isoformat())
        counts = store.counts()
        detail = f"{config.database} takes writes; schedule {store.schedule().version}, {counts.pending} acks wait"
        return Finding("journal", True, detail), True
    finally:
        store.close()


def _battery(config: Config, clock: SystemClock) -> Finding:
    try:
        driver = drivers.make(config, clock)
        try:
            driver.safe()
            reading = driver.read()
        finally:
            driver.close()
    except AgentError as error:
        return Finding("battery", False, f"{config.battery.driver}: {error}")
    if not 0 <= reading.soc <= 1:
        return Finding("battery", False, f"{config.battery.driver}: a state of charge of {reading.soc} makes no sense")
    warmth = "" if reading.celsius is None else f", {reading.celsius:.0f} °C"
    return Finding("battery", True, f"{config.battery.driver}: {reading.soc:.0%} full, {reading.power_w:.0f} W{warmth}")


def _legacy(config: Config) -> Exchange[str]:
    fetched = yield from LegacyBackend(config.device_id, config.token, AMSTERDAM).fetch(None)
    version = fetched.document.schedule.version if fetched.document else None
    return f"{config.gateway_url} knows device {config.device_id}, schedule {version}"


def _service(config: Config) -> Exchange[str]:
    fetched = yield from ServiceBackend(config.device_id, config.token).fetch(None)
    version = fetched.document.schedule.version if fetched.document else None
    return f"{config.service_url} knows device {config.device_id}, schedule {version}"


def _flag(config: Config) -> Exchange[str]:
    flag = yield from flags.evaluate(config.device_id, flags.Flag())
    return f"{flags.FLAG} is {flag.value}"


async def _asks(name: str, transport: Transport, exchange: Exchange[str]) -> Finding:
    try:
        return Finding(name, True, await transport.run(exchange))
    except Refused as error:
        helps = {401: ": is the token this device's?", 403: ": is device_id right?", 404: ": is the address right?"}
        return Finding(name, False, f"{error}{helps.get(error.status, '')}")
    except ExchangeError as error:
        return Finding(name, False, str(error))


def _clock(config: Config, timekeeper: Timekeeper, clock: SystemClock) -> Finding:
    now, monotonic = clock.now(), clock.monotonic()
    skew = timekeeper.skew_s(now, monotonic)
    if why := timekeeper.distrust(now, monotonic, config.timing.max_skew_s):
        return Finding("clock", False, f"{why}: is the time synchronised (timedatectl)?")
    detail = "no server said the time" if skew is None else f"within {abs(skew):.0f} s of the server's"
    return Finding("clock", True, detail)
