"""One compact JSON line per request, written in batches so that a request never waits for the log."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

MOST_WAITING = 10_000  # lines; beyond it lines are dropped and the drop is logged


def _text(raw: bytes) -> str:
    return raw.decode("latin-1").replace("\\", "\\\\").replace('"', '\\"')


class AccessLog:
    def __init__(self, sample: float, write: Callable[[bytes], object] | None = None) -> None:
        self.sample = sample
        self._write = write or (lambda data: os.write(1, data))
        self._lines: list[str] = []
        self._dropped = 0

    def add(
        self,
        method: bytes,
        path: bytes,
        status: int,
        seconds: float,
        domain: str,
        side: str,
        reason: str,
        request_id: bytes,
    ) -> None:
        """Failures are always kept, the rest is sampled. The query is left out: it may carry what is private."""
        if status < 500 and self.sample < 1 and random.random() >= self.sample:  # noqa: S311
            return
        if len(self._lines) >= MOST_WAITING:
            self._dropped += 1
            return
        self._lines.append(
            f'{{"at":{time.time():.3f},"method":"{_text(method)}","path":"{_text(path)}","status":{status},'
            f'"ms":{seconds * 1000:.2f},"domain":"{domain}","side":"{side}","reason":"{reason}",'
            f'"request_id":"{_text(request_id)}"}}\n'
        )

    def flush(self) -> None:
        if self._dropped:
            self._lines.append(
                f'{{"at":{time.time():.3f},"event":"access log lines dropped","count":{self._dropped}}}\n'
            )
            self._dropped = 0
        if self._lines:
            lines, self._lines = self._lines, []
            self._write("".join(lines).encode())
