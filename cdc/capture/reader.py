"""The capture thread: reads, decodes, fills the buffer, answers keepalives, confirms what the target has committed."""

from __future__ import annotations

import threading
import time

from cdc.capture.assemble import Assembler
from cdc.capture.buffer import Buffer
from cdc.capture.pgoutput import Decoder
from cdc.capture.raw import Captured
from cdc.capture.replication import Keepalive, ReplicationStream, WalData
from cdc.change import Boundary
from cdc.errors import SchemaChanged
from cdc.schema.sentry import Sentry

# Seconds between two feedbacks, also while reading is paused: far below any sane wal_sender_timeout.
FEEDBACK = 1.0
# How long a wait for data lasts before the stop flag is looked at, seconds. Not on the latency path.
POLL = 0.2


class Reader(threading.Thread):
    """`applied` is what the apply thread has made durable; it is confirmed within FEEDBACK seconds, never earlier."""

    def __init__(
        self, stream: ReplicationStream, buffer: Buffer, name: str, raw: bool = False, sentry: Sentry | None = None
    ) -> None:
        super().__init__(name=f"capture-{name}", daemon=True)
        self._stream, self._buffer = stream, buffer
        self._decoder, self._assembler = Decoder(), Assembler(sentry)
        self._raw = raw  # hand over rows as they came, for who takes them so
        self._halt = threading.Event()
        self._next_feedback = time.monotonic() + FEEDBACK
        self.applied = stream.confirmed
        self.paused = False

    def stop(self) -> None:
        self._halt.set()

    def run(self) -> None:
        try:
            while not self._halt.is_set():
                raw, size = self._stream.read()
                events: list[Captured] = []
                try:
                    self._decode(raw, events)
                except SchemaChanged:  # what came before it is applied first
                    self._hand_over(events, size)
                    raise
                if events:
                    self._hand_over(events, size)
                elif not raw:
                    self._stream.wait(min(POLL, max(0.0, self._next_feedback - time.monotonic())))
                self._feedback()
            self._stream.confirm(self.applied)
        except BaseException as e:
            self._buffer.fail(e)
        finally:
            self._stream.close()

    def _decode(self, raw: list[WalData | Keepalive], events: list[Captured]) -> None:
        decoder, assembler = self._decoder, self._assembler
        for item in raw:
            if isinstance(item, WalData):
                row = decoder.raw(item.data, assembler.tx, item.lsn) if self._raw else None
                if row is not None:
                    events.append(row)
                else:
                    assembler.feed(item.lsn, decoder.decode(item.data), events)
            elif item.reply:
                # A server that shuts down waits until its end of WAL is confirmed: let the target store that position.
                if not self._assembler.inside and item.lsn > self.applied:
                    events.append(Boundary(item.lsn, item.at, commit=False))
                self._next_feedback = 0.0

    def _hand_over(self, events: list[Captured], size: int) -> None:
        while not self._buffer.put(events, size, FEEDBACK):
            self.paused = True
            self._stream.confirm(self.applied)
            if self._halt.is_set():
                return
        self.paused = False

    def _feedback(self) -> None:
        now = time.monotonic()
        if now >= self._next_feedback:
            self._next_feedback = now + FEEDBACK
            self._stream.confirm(self.applied)
