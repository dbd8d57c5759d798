"""One compact JSON line per request, written in batches by a thread of its own: no request ever waits for the log."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable

MOST_WAITING = 20_000  # lines; beyond it lines are dropped and the drop is logged
CLOSE_SECONDS = 1.0  # that whoever reads our output has at the end


def _text(raw: bytes) -> str:
    """For a JSON string. Control characters cannot occur: the parser refuses them."""
    text = raw.decode("latin-1")
    return text if raw.isalnum() else text.replace("\\", "\\\\").replace('"', '\\"')


def _write_all(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


class AccessLog:
    """`write` may block: it runs in the thread, and meanwhile lines wait, up to MOST_WAITING of them."""

    def __init__(self, sample: float, write: Callable[[bytes], object] = _write_all) -> None:
        self.sample = sample
        self._write = write
        self._lines: list[str] = []
        self._dropped = 0
        self._batch: list[str] = []
        self._wanted = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._thread: threading.Thread | None = None

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
        # Whole numbers are put into text twice as fast as fractions, and this is on the fast path.
        at, ms = time.time_ns() // 1_000_000, int(seconds * 100_000)
        self._lines.append(
            f'{{"at":{at // 1000}.{at % 1000:03},"method":"{method.decode()}","path":"{_text(path)}",'
            f'"status":{status},"ms":{ms // 100}.{ms % 100:02},"domain":"{domain}","side":"{side}",'
            f'"reason":"{reason}","request_id":"{_text(request_id)}"}}\n'
        )

    def flush(self) -> None:
        """Hand what there is to the thread, unless it is still busy with what it got last."""
        if not self._idle.is_set() or not (self._lines or self._dropped):
            return
        if self._dropped:
            at = time.time()
            self._lines.append(f'{{"at":{at:.3f},"event":"access log lines dropped","count":{self._dropped}}}\n')
            self._dropped = 0
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="access log", daemon=True)
            self._thread.start()
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
                self._write("".join(self._batch).encode())
            except OSError:
                self._dropped += len(self._batch)  # told as soon as there is somebody to tell
            self._batch = []
            self._idle.set()
