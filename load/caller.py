"""Makes one client's calls: retries what may be repeated while its patience lasts, and records what it saw."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from random import Random

from load.calls import Call
from load.connection import Connection, ConnectionFailed, Response
from load.stats import Recorder, Sample

_RETRIED = frozenset({502, 503, 504})  # together with Retry-After: "not done, come again"
_UNANSWERED = frozenset({502, 504})  # the gateway lost its server: to the client, the same as a lost connection
_LONGEST_PAUSE_S = 30.0


@dataclass(slots=True)
class Caller:
    """Every call that it is given must be safe to repeat: its key or its content makes it so."""

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
        headers = {"X-Client-Id": self.name, "X-Api-Key": self.backoffice_key, **call.headers}
        attempts, response = 0, None
        while True:
            attempts += 1
            response, pause, detail = await self._attempt(call, headers, attempts)
            if pause is None or time.monotonic() - began + pause > self.patience_s:
                break
            await asyncio.sleep(pause)
        ok = response is not None and response.status in call.expect
        self.recorder.done((time.monotonic() - began) * 1000, ok=ok, attempts=attempts)
        if not ok:
            self._sample(call, response, detail)
        return response if ok else None

    def stale(self, call: Call, response: Response) -> None:
        """The answer lacks a write that this client was told is done."""
        self.recorder.stale_reads += 1
        route = response.headers.get("banyan-route", "no Banyan-Route")
        self._sample(call, response, f"does not show this client's earlier write ({route})")

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
            return None, self._backoff(number), str(error)
        self.recorder.attempt(response.status)
        self.recorder.side(side_of(response))
        if response.status in call.expect:
            return response, None, ""
        detail = response.body[:300].decode("utf-8", "replace")
        asked = retry_after(response)
        if asked is None:
            return response, self._backoff(number) if response.status in _UNANSWERED else None, detail
        return response, asked * (1 + 0.1 * self.random.random()), detail

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
