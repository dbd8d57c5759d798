"""One compact JSON line per request, written in batches by a thread of its own: no request ever waits for the log.

Fields: `at` (seconds since 1970), method, path (without its query, which may carry what is private), status (0: the
client left before an answer), `ms` in all, of which `waited_ms` for the end of a hold, the sync or a better moment and
`upstream_ms` until the answer's head; the decision (domain, operation, side, reason), `upstream` (the server that was
asked last), attempts, bytes_in and bytes_out, `bucket` of the key where it decided something (never the key),
request_id, trace_id.
"""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable
from time import time
from typing import TYPE_CHECKING

from gateway.http1.lines import value_of
from gateway.routing.bucket import bucket

if TYPE_CHECKING:
    from gateway.http1.exchange import Exchange
    from gateway.http1.head import Request
    from gateway.routing.decision import Decision

MOST_WAITING = 20_000  # lines; beyond it lines are dropped and the drop is logged
MANY = 128  # lines that are written before the tick
CLOSE_SECONDS = 1.0  # that whoever reads our output has at the end
_MOST_DECISIONS = 1_000  # texts kept of decisions; a new table makes new ones
_UNSAFE = re.compile(rb'["\\\x00-\x1f\x7f-\xff]')
_LINE = (
    b'{"at":%.3f,"method":"%b","path":"%b","status":%d,"ms":%.2f,%b,"upstream":"%b","attempts":%d,"bytes_in":%d,'
    b'"bytes_out":%d,"waited_ms":%.2f,"upstream_ms":%.2f,"bucket":%b,"request_id":"%b","trace_id":"%b"}\n'
)


def quoted(raw: bytes) -> bytes:
    """Safe between the quotes of a JSON string; each byte becomes the character of its number."""
    return _UNSAFE.sub(lambda found: b"\\u%04x" % found[0][0], raw)


def trace_id(exchange: Exchange, request: Request) -> bytes:
    """Of the traceparent in the head that went out; the gateway's own stands near its end. Empty: none."""
    head = exchange.head
    if not head:  # it went nowhere; a sampled one has a trace all the same
        return exchange.trace.trace_id if exchange.trace is not None else b""
    at = head.rfind(b"\r\ntraceparent: ") + 18
    found = head[at : at + 32]
    if at > 17 and found.isalnum():
        return found
    given = value_of(request.head, request.low, b"traceparent") or b""
    return given[3:35] if given[3:35].isalnum() else b""


class AccessLog:
    """`write` may block: it runs in the thread, and meanwhile lines wait, up to MOST_WAITING of them."""

    def __init__(self, sample: float, write: Callable[[bytes], object]) -> None:
        """`sample`: share of requests that are logged."""
        self.sample = sample
        self._write = write
        self._lines: list[bytes] = []
        self._dropped = 0
        self._decisions: dict[tuple[bytes, str], bytes] = {}
        self._batch: list[bytes] = []
        self._wanted = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._flusher: threading.Thread | None = None

    def add(self, exchange: Exchange, seconds: float) -> None:
        """Failures are always kept, the rest is sampled."""
        if exchange.status < 500 and self.sample < 1 and random.random() >= self.sample:  # noqa: S311
            return
        if len(self._lines) >= MOST_WAITING:
            self._dropped += 1
            return
        self._lines.append(self.line(exchange, seconds))
        if len(self._lines) % MANY == 0:  # a tick's worth in one piece would hold everybody up
            self.flush()

    def line(self, exchange: Exchange, seconds: float) -> bytes:
        """Of a request that is over, after `seconds`."""
        request, decision, route = exchange.request, exchange.decision, exchange.route
        path, request_id = request.path, exchange.request_id
        if not path.isascii() or b'"' in path or b"\\" in path:
            path = quoted(path)
        if request_id is request.given_id:
            request_id = quoted(request_id)
        known = (decision.banner, route.id)
        told = self._decisions.get(known) or self._tell(known, decision)
        if exchange.trouble is not None:
            told = told[:-1] + f'; {exchange.trouble.word}"'.encode()
        endpoint, waited, answered = exchange.endpoint, exchange.waited, exchange.answered
        return _LINE % (
            time(),
            request.method,
            path,
            exchange.status,
            seconds * 1e3,
            told,
            endpoint.authority if endpoint is not None else b"",
            exchange.attempts if endpoint is not None else 0,
            exchange.body.size,
            exchange.sent,
            waited * 1e3,
            ((answered - exchange.started if answered else seconds) - waited) * 1e3,
            b"null" if exchange.key is None else b"%d" % bucket(exchange.key),
            request_id,
            trace_id(exchange, request),
        )

    def _tell(self, known: tuple[bytes, str], decision: Decision) -> bytes:
        if len(self._decisions) >= _MOST_DECISIONS:
            self._decisions.clear()
        where = f'"domain":"{decision.domain}","operation":"{known[1]}"'
        text = f'{where},"side":"{decision.side}","reason":"{decision.reason}"'
        told = self._decisions[known] = text.encode()
        return told

    def flush(self) -> None:
        """Hand what there is to the thread, unless it is still busy with what it got last."""
        if not self._idle.is_set() or not (self._lines or self._dropped):
            return
        if self._dropped:
            at = time()
            self._lines.append(b'{"at":%.3f,"event":"access log lines dropped","count":%d}\n' % (at, self._dropped))
            self._dropped = 0
        if self._flusher is None:
            self._flusher = threading.Thread(target=self._run, name="access log", daemon=True)
            self._flusher.start()
        self._batch, self._lines = self._lines, []
        self._idle.clear()
        self._wanted.set()

    def close(self) -> None:
        """Write the rest, as long as somebody takes it."""
        if self._idle.wait(CLOSE_SECONDS):
            self.flush()
            self._idle.wait(CLOSE_SECONDS)

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            try:
                self._write(b"".join(self._batch))
            except OSError:
                self._dropped += len(self._batch)  # told as soon as there is somebody to tell
            self._batch = []
            self._idle.set()
