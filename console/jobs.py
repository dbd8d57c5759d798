"""Verbs under way: each in a thread of its own, told live to who watches, and remembered for a while."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Literal

from console.acts import Ask

KEPT = 50  # jobs; the oldest that has ended is forgotten
LINES = 200
HEARTBEAT_S = 15.0

State = Literal["running", "done", "failed"]
#: Does the work; is given what tells of a step, and returns what it came to. What it raises is the failure's text.
Work = Callable[[Callable[[str], None]], str]


class JobRunning(Exception):
    """The domain has one under way here."""


@dataclass
class Job:
    """Changed on the event loop only. `lines`: the steps so far; `end`: what it came to."""

    id: str
    ask: Ask
    actor: str
    state: State = "running"
    lines: list[str] = field(default_factory=list)
    end: str = ""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, line: str) -> None:
        """A comparison's line replaces the one before, of the same table."""
        if self.lines and ": " in line and self.lines[-1].startswith(line.partition(": ")[0] + ": "):
            self.lines[-1] = line
        elif len(self.lines) < LINES:
            self.lines.append(line)
        self._wake()

    def finish(self, state: State, end: str) -> None:
        self.state, self.end = state, end
        self._wake()

    def _wake(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    async def watch(self) -> AsyncIterator[Job | None]:
        """Itself at once and after each change, until it has ended; None when there is nothing new for long."""
        while True:
            changed, ended = self.changed, self.state != "running"
            yield self
            if ended:
                return
            while True:
                try:
                    await asyncio.wait_for(changed.wait(), HEARTBEAT_S)
                    break
                except TimeoutError:
                    yield None


class Jobs:
    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}

    def find(self, id_: str) -> Job | None:
        return self._jobs.get(id_)

    def start(self, ask: Ask, actor: str, work: Work) -> Job:
        """Raises: JobRunning."""
        for job in self._jobs.values():
            if job.state == "running" and job.ask.domain == ask.domain:
                raise JobRunning(f"{job.actor}'s {job.ask.verb} of {ask.domain} is under way: wait until it is done")
        ended = [id_ for id_, job in self._jobs.items() if job.state != "running"]
        for id_ in ended[: max(0, len(self._jobs) - KEPT + 1)]:
            del self._jobs[id_]
        job = Job(secrets.token_urlsafe(9), ask, actor)
        self._jobs[job.id] = job
        loop = asyncio.get_running_loop()
        # A daemon: a console that ends in the middle of a step leaves it as any killed controller does, to be resumed.
        threading.Thread(target=_run, args=[job, work, loop], name=f"{ask.verb} {ask.domain}", daemon=True).start()
        return job


def _run(job: Job, work: Work, loop: asyncio.AbstractEventLoop) -> None:
    def on_loop(call: Callable[..., None], *given: object) -> None:
        try:
            loop.call_soon_threadsafe(call, *given)
        except RuntimeError:  # the console has ended: nobody watches
            pass

    try:
        end = work(lambda line: on_loop(job.tell, line))
    except Exception as error:
        on_loop(job.finish, "failed", f"{type(error).__name__}: {error}")
    else:
        on_loop(job.finish, "done", end)
