"""The running agent: four loops (control, poll, acks, flag) around the parts that decide."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from pi_agent import flags, status
from pi_agent.backends import Backend, LegacyBackend, ServiceBackend, Verdict
from pi_agent.backoff import Backoff, Uniform, phase
from pi_agent.choice import Choice, ChoicePolicy
from pi_agent.clock import AMSTERDAM, Clock
from pi_agent.config import Config
from pi_agent.controller import Checkpoint, Controller
from pi_agent.errors import ExchangeError, Refused
from pi_agent.store import Store
from pi_agent.transport import Transport

log = logging.getLogger("pi_agent")


class Agent:
    """Owns the transports and the loops; `store` and `controller` are the caller's."""

    def __init__(
        self,
        config: Config,
        store: Store,
        controller: Controller,
        clock: Clock,
        uniform: Uniform,
        checkpoint: Checkpoint,
    ) -> None:
        self._config = config
        self._store = store
        self._controller = controller
        self._clock = clock
        self._uniform = uniform
        self._checkpoint = checkpoint
        timing = config.timing
        self._backoff = Backoff(timing.backoff_base_s, timing.backoff_cap_s)
        self._policy = ChoicePolicy(timing.max_v2_errors, Backoff(timing.v2_retreat_s, timing.v2_retreat_cap_s))
        self._backends: dict[str, Backend] = {
            flags.LEGACY: LegacyBackend(config.device_id, config.token, AMSTERDAM),
            flags.V2: ServiceBackend(config.device_id, config.token),
        }
        self._gateway = Transport(config.gateway_url, timing.request_timeout_s, clock)
        self._flag_service = Transport(config.flags_url, timing.request_timeout_s, clock) if config.flags_url else None
        self._flag = _stored_flag(store)
        self._choice = Choice(flag=self._flag.value)
        self._etag: str | None = None
        self._acks_wait = asyncio.Event()
        self._last_contact: datetime | None = None
        self._last_error: str | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; then the battery is safe, and what could be told is told."""
        self._controller.start()
        self._write_status("starting")
        loops = [
            asyncio.create_task(self._control_loop(), name="control"),
            asyncio.create_task(self._loop(self._poll, self._config.timing.poll_s), name="poll"),
            asyncio.create_task(self._ack_loop(), name="acks"),
        ]
        if self._flag_service:
            loops.append(asyncio.create_task(self._loop(self._ask_flag, self._config.timing.flags_s), name="flag"))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([*loops, stopping], return_when=asyncio.FIRST_COMPLETED)
        failures = [task.exception() for task in loops if task.done() and not task.cancelled()]
        for task in [*loops, stopping]:
            task.cancel()
        await asyncio.gather(*loops, stopping, return_exceptions=True)
        await self._stop()
        for failure in failures:
            if failure is not None:
                raise failure

    async def _stop(self) -> None:
        self._controller.make_safe()
        with contextlib.suppress(TimeoutError, ExchangeError):
            async with asyncio.timeout(self._config.timing.stop_s):
                while await self._deliver_batch():
                    pass
        self._write_status("stopped")
        await self._gateway.close()
        if self._flag_service:
            await self._flag_service.close()

    # Control

    async def _control_loop(self) -> None:
        """Nothing that goes wrong in one period ends the loop; a battery without a working journal is kept safe."""
        while True:
            try:
                self._controller.clock_trusted = self._clock_is_trusted()
                self._controller.tick()
                self._write_status("running")
                if self._store.counts().pending:
                    self._acks_wait.set()
            except (sqlite3.Error, OSError) as error:
                log.error("the agent's state cannot be written: %s", error)
                self._last_error = f"state: {error}"
                self._controller.make_safe()
            await asyncio.sleep(self._config.timing.control_s)

    def _clock_is_trusted(self) -> bool:
        limit, skew = self._config.timing.max_skew_s, self._gateway.skew_s
        return limit == 0 or skew is None or abs(skew) <= limit

    # The network

    async def _loop(self, step: Callable[[], Awaitable[None]], interval_s: float) -> None:
        """Run `step` each interval, at this device's place in it; after failures with backoff.

        The first run comes at that place too: ten thousand agents that come back with the power do not come at once.
        """
        failures = 0
        await asyncio.sleep(phase(self._config.device_id, interval_s))
        due = self._clock.monotonic()
        while True:
            try:
                await step()
                failures = 0
                due = max(due + interval_s, self._clock.monotonic())
                delay = due - self._clock.monotonic()
            except ExchangeError as error:
                delay = self._backoff.delay(failures, self._uniform, _retry_after(error))
                failures += 1
            except (sqlite3.Error, OSError) as error:
                self._last_error = f"state: {error}"
                delay = interval_s
            await asyncio.sleep(delay)

    async def _poll(self) -> None:
        backend = self._backend()
        try:
            document = await self._gateway.run(backend.fetch(self._etag if backend.name == flags.V2 else None))
        except ExchangeError as error:
            self._note_failure(backend, error)
            raise
        self._note_success(backend)
        if document is not None:
            self._etag = document.etag
            if self._controller.receive(document):
                self._acks_wait.set()

    async def _ack_loop(self) -> None:
        failures = 0
        while True:
            await self._acks_wait.wait()
            self._acks_wait.clear()
            try:
                settled = await self._deliver_batch()
                while settled:
                    failures = 0
                    settled = await self._deliver_batch()
                continue
            except ExchangeError as error:
                delay = self._backoff.delay(failures, self._uniform, _retry_after(error))
            except (sqlite3.Error, OSError) as error:
                self._last_error = f"state: {error}"
                delay = self._backoff.delay(failures, self._uniform)
            failures += 1
            await asyncio.sleep(delay)
            self._acks_wait.set()

    async def _deliver_batch(self) -> bool:
        """Whether there was something to deliver and all of it was taken. Raises: ExchangeError, to be tried again."""
        backend = self._backend()
        waiting = self._store.pending(backend.batch)
        if not waiting:
            return False
        try:
            verdicts = await self._gateway.run(backend.deliver([p.ack for p in waiting]))
        except ExchangeError as error:
            self._note_failure(backend, error)
            raise
        self._checkpoint("sent")
        taken = [p.seq for p, v in zip(waiting, verdicts, strict=True) if v is Verdict.ACCEPTED]
        refused = [p.seq for p, v in zip(waiting, verdicts, strict=True) if v is Verdict.REFUSED]
        self._store.accepted(taken)
        self._checkpoint("settled")
        if not refused:
            self._note_success(backend)
            return True
        self._store.refused(refused, self._config.timing.max_refusals)
        log.warning("%s refused %d acks", backend.name, len(refused))
        refusal = Refused(422)
        self._note_failure(backend, refusal)
        raise refusal

    async def _ask_flag(self) -> None:
        if self._flag_service is None:
            return
        flag = await self._flag_service.run(flags.evaluate(self._config.device_id, self._flag))
        if flag == self._flag:
            return
        if flag.value != self._flag.value:
            log.info("flag %s: %s → %s", flags.FLAG, self._flag.value, flag.value)
        self._flag = flag
        self._choice = self._policy.with_flag(self._choice, flag.value)
        self._store.set("flag", {"value": flag.value, "etag": flag.etag})

    # Which backend, and how it goes

    def _backend(self) -> Backend:
        return self._backends[self._choice.backend(self._clock.monotonic())]

    def _note_success(self, backend: Backend) -> None:
        self._choice = self._policy.succeeded(self._choice, backend.name)
        self._last_contact, self._last_error = self._clock.now(), None

    def _note_failure(self, backend: Backend, error: ExchangeError) -> None:
        self._last_error = f"{backend.name}: {error}"
        if isinstance(error, Refused) and error.status == 429:
            return  # told to slow down; nothing is wrong with the backend
        before = self._backend().name
        self._choice = self._policy.failed(self._choice, backend.name, self._clock.monotonic(), self._uniform)
        if before != self._backend().name:
            log.warning("%s is unusable (%s): back to %s for a while", before, error, self._backend().name)
            self._etag = None

    def _write_status(self, state: str) -> None:
        view, counts = self._controller.view, self._store.counts()
        contact = self._last_contact
        status.write(
            self._config.status_file,
            {
                "state": state,
                "pid": os.getpid(),
                "device_id": self._config.device_id,
                "backend": self._backend().name,
                "flag": self._flag.value,
                "last_contact": contact.isoformat(timespec="seconds") if contact else None,
                "last_error": self._last_error,
                "schedule_version": self._controller.schedule_version,
                "soc": round(view.reading.soc, 4) if view.reading else None,
                "power_w": view.reading.power_w if view.reading else None,
                "mode": view.applied.mode.value,
                "ref": view.decision.setpoint.ref or None,
                "reason": view.decision.reason,
                "fault": view.fault,
                "pending_acks": counts.pending,
                "refused_acks": counts.refused,
                "dropped_acks": counts.dropped,
                "clock_jumps": view.clock_jumps,
                "skew_s": None if self._gateway.skew_s is None else round(self._gateway.skew_s, 1),
                "updated": self._clock.now().isoformat(timespec="seconds"),
            },
        )


def _stored_flag(store: Store) -> flags.Flag:
    """The last known good; legacy when there is none."""
    saved: Any = store.setting("flag")
    if isinstance(saved, dict) and saved.get("value") in (flags.LEGACY, flags.V2):
        return flags.Flag(saved["value"], saved.get("etag"))
    return flags.Flag()


def _retry_after(error: ExchangeError) -> float | None:
    return error.retry_after if isinstance(error, Refused) else None
