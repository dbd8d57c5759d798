"""Makes one client's calls: retries what may be repeated while its patience lasts, and records what it saw."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from load.calls import Call
from load.connection import Connection, ConnectionFailed, Response
from load.stats import Kind, Recorder, Sample

_RETRIED = frozenset({502, 503, 504})  # together with Retry-After: "not done, come again"
_UNANSWERED = frozenset({502, 504})  # the gateway lost its server: to the client, the same as a lost connection
_LONGEST_PAUSE_S = 30.0


@dataclass(frozen=True, slots=True)
class Check:
    """A read, and whether its answer shows what the client wrote before."""

    call: Call
    fresh: Callable[[Response], bool] | None = None


@dataclass(slots=True)
class Caller:
    """A call is sent again only if that is safe: its key or content makes it so, or the gateway says nobody got it."""

    name: str  # X-Client-Id
    backoffice_key: str
    connection: Connection
    recorder: Recorder
    random: Random
    patience_s: float = 30.0  # a call not accepted after this has failed
    attempt_s: float = 10.0  # the longest that one attempt may take

    async def call(self, call: Call) -> Response | None:
        """The expected answer, after as many attempts as patience allows; None when the call failed."""
        began = time.monotonic()
        credentials = {} if "X-Device-Token" in call.headers else {"X-Api-Key": self.backoffice_key}
        headers = {"X-Client-Id": self.name, **credentials, **call.headers}
        attempts, response = 0, None
        while True:
            attempts += 1
            response, pause, detail = await self._attempt(call, headers, attempts)
            if pause is None or time.monotonic() - began + pause > self.patience_s:
                break
            await asyncio.sleep(pause)
        ok = response is not None and response.status in call.expect
        side = side_of(response) if response is not None else "unknown"
        kind: Kind = "write" if call.writes else "read"
        self.recorder.done((time.monotonic() - began) * 1000, ok=ok, attempts=attempts, kind=kind, side=side)
        if not ok:
            self._sample(call, response, detail)
        return response if ok else None

    async def read(self, check: Check) -> None:
        """Make the call; an answer that does not show an earlier write is counted as stale."""
        answer = await self.call(check.call)
        if answer is not None and check.fresh is not None and not check.fresh(answer):
            self._stale(check.call, answer)

    def close(self) -> None:
        self.connection.close()

    async def _attempt(
        self, call: Call, headers: dict[str, str], number: int
    ) -> tuple[Response | None, float | None, str]:
        """The answer, seconds until the next attempt (None: there is none to make), and what to say of it."""
        try:
            response = await self.connection.request(call.method, call.target, headers, call.body, self.attempt_s)
        except ConnectionFailed as error:
            self.recorder.attempt(0)
            return None, self._backoff(number) if call.repeatable else None, str(error)
        self.recorder.attempt(response.status)
        self.recorder.side(side_of(response))
        if response.status in call.expect:
            return response, None, ""
        detail = response.body[:300].decode("utf-8", "replace")
        asked = retry_after(response)
        if asked is None:
            again = call.repeatable and response.status in _UNANSWERED
            return response, self._backoff(number) if again else None, detail
        return response, asked * (1 + 0.1 * self.random.random()), detail

    def _stale(self, call: Call, response: Response) -> None:
        """The answer lacks a write that this client was told is done."""
        self.recorder.stale_reads += 1
        route = response.headers.get("banyan-route", "no Banyan-Route")
        self._sample(call, response, f"does not show this client's earlier write ({route})")

    def _backoff(self, number: int) -> float:
        return min(1.0, 0.05 * 2.0**number) * (0.5 + self.random.random())

    def _sample(self, call: Call, response: Response | None, detail: str) -> None:
        status, request_id = (response.status, response.headers.get("x-request-id", "")) if response else (0, "")
        self.recorder.sample(Sample(f"{call.method} {call.target}", status, detail, request_id, self.name))


def retry_after(response: Response) -> float | None:
    """Seconds to wait before the same request may be sent again; None when the answer is final."""
    if response.status not in _RETRIED or "retry-after" not in response.headers:
        return None
    try:
        return min(_LONGEST_PAUSE_S, max(0.0, float(response.headers["retry-after"])))
    except ValueError:
        return None


def side_of(response: Response) -> str:
    """From `Banyan-Route: domain=pricing; side=service; …`; `unknown` without it."""
    for part in response.headers.get("banyan-route", "").split(";"):
        name, _, value = part.strip().partition("=")
        if name == "side":
            return value
    return "unknown"
