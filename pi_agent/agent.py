"""The running agent: drives the core with real time and network. A loop for the battery, one for each activity."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3

from pi_agent import metrics, report, status
from pi_agent.activity import NEVER, Activity
from pi_agent.core import Core
from pi_agent.errors import ExchangeError
from pi_agent.notify import Notifier
from pi_agent.transport import Transport

log = logging.getLogger("pi_agent")


class Agent:
    """`core` and `notifier` are the caller's."""

    def __init__(self, core: Core, notifier: Notifier) -> None:
        self._core = core
        self._config = core.config
        self._notifier = notifier
        self._transport = Transport(core.config.addresses, core.config.timing.request_timeout_s, core.clock)
        self._metrics_at = -NEVER

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; then the battery is safe, and what could be told is told."""
        for path in (self._config.status_file, self._config.metrics_file):
            path.parent.mkdir(parents=True, exist_ok=True)
        self._core.start()
        self._write_status("starting")
        loops = [asyncio.create_task(self._control_loop(), name="control")]
        loops += [asyncio.create_task(self._loop(a), name=a.name) for a in self._core.activities]
        self._notifier.ready("the battery is safe, the schedule goes on")
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([*loops, stopping], return_when=asyncio.FIRST_COMPLETED)
        self._notifier.stopping()
        failures = [task.exception() for task in loops if task.done() and not task.cancelled()]
        for task in [*loops, stopping]:
            task.cancel()
        await asyncio.gather(*loops, stopping, return_exceptions=True)
        await self._stop()
        for failure in failures:
            if failure is not None:
                raise failure

    async def _stop(self) -> None:
        core = self._core
        core.controller.make_safe()
        with contextlib.suppress(TimeoutError, ExchangeError, sqlite3.Error, OSError):
            async with asyncio.timeout(self._config.timing.stop_s):
                while core.journal.counts().pending:
                    await self._transport.run(core.run(core.acks))
                    if core.acks.failures:
                        break
        with contextlib.suppress(sqlite3.Error, OSError):
            core.remember_time()
            self._write_status("stopped")
        await self._transport.close()

    async def _control_loop(self) -> None:
        """Nothing that goes wrong in one period ends the loop; a battery without a working journal is kept safe."""
        core = self._core
        while True:
            try:
                core.control()
                self._write_status("running")
            except (sqlite3.Error, OSError) as error:
                log.error("the agent's state cannot be written: %s", error)
                core.last_error = f"state: {error}"
                core.controller.make_safe()
            # From here and from nowhere else: a loop that hangs has to be seen.
            self._notifier.alive(core.clock.monotonic(), core.controller.view.decision.reason)
            await asyncio.sleep(self._config.timing.control_s)

    async def _loop(self, activity: Activity) -> None:
        nearer = asyncio.Event()
        activity.wake = nearer.set
        while True:
            wait_s = activity.due - self._core.clock.monotonic()
            if wait_s > 0:
                nearer.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(nearer.wait(), None if wait_s == NEVER else wait_s)
                continue
            nearer.clear()
            step = asyncio.ensure_future(self._transport.run(self._core.run(activity)))
            await self._done_or_cut_off(step, activity, nearer)

    @staticmethod
    async def _done_or_cut_off(step: asyncio.Future[None], activity: Activity, nearer: asyncio.Event) -> None:
        if not activity.yields:
            await step
            return
        hastened = asyncio.ensure_future(_set(nearer))
        try:
            await asyncio.wait([step, hastened], return_when=asyncio.FIRST_COMPLETED)
        finally:
            hastened.cancel()
            if not step.done():
                step.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await step

    def _write_status(self, state: str) -> None:
        values = report.values(self._core, state)
        status.write(self._config.status_file, values)
        now = self._core.clock.monotonic()
        if state != "running" or now - self._metrics_at >= self._config.timing.metrics_s:
            metrics.write(self._config.metrics_file, values)
            self._metrics_at = now


async def _set(event: asyncio.Event) -> None:
    await event.wait()
