"""The relay beside the consumer that `python -m cdc run` is: as a process of its own (another core), or a thread."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from cdc.errors import CdcError, SchemaChanged

# A relay that does not end in this time after it was asked to is ended, seconds. Its unacknowledged records come again.
GRACE = 15.0
# How the relay's process says that a table has changed; the stream then stands until it is resumed.
SCHEMA_CHANGED = "schema changed: "


class Producer(Protocol):
    """A Relay, or where Debezium captures a Marker."""

    def run(self, stop: threading.Event, /) -> None: ...


class Half(Protocol):
    """A running relay."""

    def failed(self) -> CdcError | None:
        """Why it ended, when it needs a person."""

    def ended(self) -> bool: ...
    def stop(self) -> None:
        """Asks it to send what it has, and waits for its end."""


Start = Callable[[], Half]


class RelayFailed(CdcError):
    """Raised in the consumer's process with the words of the relay's."""


class Thread:
    def __init__(self, relay: Producer) -> None:
        self._halt = threading.Event()
        self._error: BaseException | None = None
        self._relay = relay
        self._thread = threading.Thread(target=self._work, name="relay", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            self._relay.run(self._halt)
        except BaseException as e:
            self._error = e

    def failed(self) -> CdcError | None:
        error = self._error
        return error if error is None or isinstance(error, CdcError) else RelayFailed(f"the relay ended: {error!r}")

    def ended(self) -> bool:
        return not self._thread.is_alive()

    def stop(self) -> None:
        self._halt.set()
        self._thread.join(GRACE)


class Process:
    """`python -m cdc relay`; it ends when we do, however we end, since its standard input ends with us."""

    def __init__(self, path: Path) -> None:
        command = [sys.executable, "-m", "cdc", "relay", "--until-eof", "--stream", str(path)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._words = ""
        self._changed: SchemaChanged | None = None
        self._reader = threading.Thread(target=self._listen, name="relay-log", daemon=True)
        self._reader.start()

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if line.startswith(SCHEMA_CHANGED):
                words, side, table, lsn = json.loads(line.removeprefix(SCHEMA_CHANGED))
                self._changed = SchemaChanged(words, side=side, table=table, lsn=lsn)
            elif line.startswith("Error: "):
                self._words = line.removeprefix("Error: ").strip()
            else:
                sys.stderr.write(line)

    def failed(self) -> CdcError | None:
        code = self._process.poll()
        if code in (None, 0):
            return None
        self._reader.join(1)
        if self._changed is not None:
            return self._changed
        return RelayFailed(self._words) if self._words else None

    def ended(self) -> bool:
        return self._process.poll() is not None

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)
