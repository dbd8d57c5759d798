"""The capture thread: reads, decodes, fills the buffer, answers keepalives, confirms what the target has committed."""

from __future__ import annotations

import threading
import time

from cdc.capture.assemble import Assembler
from cdc.capture.buffer import Buffer
from cdc.capture.pgoutput import Decoder
from cdc.capture.replication import Keepalive, ReplicationStream, WalData
from cdc.change import Boundary, Event

# Seconds between two feedbacks, also while reading is paused: far below any sane wal_sender_timeout.
FEEDBACK = 1.0
# How long a wait for data lasts before the stop flag is looked at, seconds. Not on the latency path.
POLL = 0.2


class Reader(threading.Thread):
    """`applied` is what the apply thread has made durable; it is confirmed within FEEDBACK seconds, never earlier."""

    def __init__(self, stream: ReplicationStream, buffer: Buffer, name: str) -> None:
        super().__init__(name=f"capture-{name}", daemon=True)
        self._stream, self._buffer = stream, buffer
        self._decoder, self._assembler = Decoder(), Assembler()
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
                events = self._events(raw)
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

    def _events(self, raw: list[WalData | Keepalive]) -> list[Event]:
        events: list[Event] = []
        decode, feed = self._decoder.decode, self._assembler.feed
        for item in raw:
            if isinstance(item, WalData):
                feed(item.lsn, decode(item.data), events)
            elif item.reply:
                # A server that shuts down waits until its end of WAL is confirmed: let the target store that position.
                if not self._assembler.inside and item.lsn > self.applied:
                    events.append(Boundary(item.lsn, item.at, commit=False))
                self._next_feedback = 0.0
        return events

    def _hand_over(self, events: list[Event], size: int) -> None:
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
