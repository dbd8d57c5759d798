"""The capture thread: reads, decodes, fills the buffer, answers keepalives, confirms what the target has committed."""

from __future__ import annotations

import threading
import time

from cdc.capture.assemble import Assembler
from cdc.capture.binary import Resolver
from cdc.capture.buffer import Buffer
from cdc.capture.pgoutput import Decoder
from cdc.capture.raw import Captured
from cdc.capture.replication import DRAIN_BYTES, DRAIN_MESSAGES, Keepalive, ReplicationStream, WalData
from cdc.capture.streamed import Ended, Streamed
from cdc.change import Boundary
from cdc.errors import SchemaChanged
from cdc.schema.sentry import Sentry

# Seconds between two feedbacks, also while reading is paused: far below any sane wal_sender_timeout.
FEEDBACK = 1.0
# How long a wait for data lasts before the stop flag is looked at, seconds. Not on the latency path.
POLL = 0.2


class Reader(threading.Thread):
    """`applied` is what the apply thread has made durable; it is confirmed each `interval` seconds, never earlier."""

    def __init__(
        self,
        stream: ReplicationStream,
        buffer: Buffer,
        name: str,
        *,
        raw: bool = False,
        sentry: Sentry | None = None,
        streamed: Streamed | None = None,
        binary: Resolver | None = None,
        interval: float = FEEDBACK,
    ) -> None:
        """`raw`: hand over rows as they came. `streamed`, `binary`: needed where the stream was asked for open
        transactions, and for binary values.
        """
        super().__init__(name=f"capture-{name}", daemon=True)
        self._stream, self._buffer = stream, buffer
        self._decoder, self._assembler = Decoder(binary), Assembler(sentry)
        self._raw, self._streamed, self._interval = raw, streamed or Streamed(), interval
        self._halt = threading.Event()
        self._next_feedback = time.monotonic() + interval
        self.applied = stream.confirmed
        self.paused = False

    @property
    def spooled(self) -> int:
        """Bytes of open transactions that are kept on disk."""
        return self._streamed.size

    def stop(self) -> None:
        self._halt.set()

    def run(self) -> None:
        try:
            while not self._halt.is_set():
                raw, size = self._stream.read()
                events: list[Captured] = []
                try:
                    self._take(raw, events)
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
            self._streamed.close()
            self._stream.close()

    def _take(self, raw: list[WalData | Keepalive], events: list[Captured]) -> None:
        streamed, row_of, assembler = self._streamed, self._decoder.raw, self._assembler
        for item in raw:
            if isinstance(item, WalData):
                if self._raw and streamed.outside and (row := row_of(item.data, assembler.tx, item.lsn)) is not None:
                    events.append(row)
                elif not streamed.takes(item.data):
                    assembler.feed(item.lsn, self._decoder.decode(item.data), events)
                elif (ended := streamed.feed(item.lsn, item.data)) is not None:
                    self._replay(ended, events)
            elif item.reply:
                # A server that shuts down waits until its end of WAL is confirmed: let the target store that position.
                if not self._assembler.inside and item.lsn > self.applied:
                    events.append(Boundary(item.lsn, item.at, commit=False))
                self._next_feedback = 0.0

    def _decode(self, lsn: int, data: bytes, events: list[Captured]) -> None:
        row = self._decoder.raw(data, self._assembler.tx, lsn) if self._raw else None
        if row is not None:
            events.append(row)
        else:
            self._assembler.feed(lsn, self._decoder.decode(data), events)

    def _replay(self, ended: Ended, events: list[Captured]) -> None:
        """A streamed transaction as if it came now, handed over in parts: it may be larger than memory."""
        size = 0
        self._assembler.feed(ended.begin.commit_lsn, ended.begin, events)
        for lsn, data in ended.messages():
            self._decode(lsn, data, events)
            size += len(data)
            if len(events) >= DRAIN_MESSAGES or size >= DRAIN_BYTES:
                self._hand_over(events.copy(), size)
                events.clear()
                size = 0
                self._feedback()
                if self._halt.is_set():
                    return
        self._assembler.feed(ended.commit.commit_lsn, ended.commit, events)

    def _hand_over(self, events: list[Captured], size: int) -> None:
        while not self._buffer.put(events, size, self._interval):
            self.paused = True
            self._stream.confirm(self.applied)
            if self._halt.is_set():
                return
        self.paused = False

    def _feedback(self) -> None:
        now = time.monotonic()
        if now >= self._next_feedback:
            self._next_feedback = now + self._interval
            self._stream.confirm(self.applied)
