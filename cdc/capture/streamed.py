"""Transactions that the server sends before they have ended (protocol 2 and newer): kept on disk until they commit.

Inside a stream block each message has the id of its (sub)transaction behind its tag; without it, it is the message that
protocol 1 knows. A subtransaction that was rolled back is left out when the rest is read again. The files have no name,
so that nothing is left of them when the process ends, however it ends.

Source: PostgreSQL manual, "Logical Streaming Replication Protocol" and "Logical Replication Message Formats".
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct, error
from typing import IO

from cdc.capture.pgoutput import Begin, Commit
from cdc.change import pg_time
from cdc.errors import ProtocolError, SpoolFull

# Bytes of a transaction that stay in memory before they go to disk.
IN_MEMORY = 1024 * 1024
# All open transactions together, unless told otherwise.
MAX_BYTES = 8 * 1024**3

_STOP, _ORIGIN = b"E", b"O"
_XID = Struct("!I").unpack_from
_COMMITTED = Struct("!IBQQq").unpack_from
_ABORTED = Struct("!II").unpack_from
_RECORD = Struct("!QII")


@dataclass(slots=True)
class _Open:
    """One transaction's messages so far."""

    file: IO[bytes]
    size: int = 0
    aborted: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Ended:
    """A streamed transaction that has committed: its frame as protocol 1 has it, and its messages in between."""

    begin: Begin
    commit: Commit
    _open: _Open

    def messages(self) -> Iterator[tuple[int, bytes]]:
        """(LSN, message) in order, read once. Raises: SpoolFull when the disk does not give them back."""
        file, aborted = self._open.file, self._open.aborted
        file.seek(0)
        try:
            while head := file.read(_RECORD.size):
                lsn, xid, size = _RECORD.unpack(head)
                data = file.read(size)
                if xid not in aborted:
                    yield lsn, data
        except (OSError, error) as e:
            raise SpoolFull(f"a large transaction cannot be read from disk again: {e}") from e
        finally:
            file.close()


class Streamed:
    """One per connection. `size` is what is kept now, bytes."""

    def __init__(self, folder: Path | None = None, max_bytes: int = MAX_BYTES) -> None:
        """`folder`: None for the system's one for temporary files."""
        self._folder, self._max_bytes = None if folder is None else str(folder), max_bytes
        self._transactions: dict[int, _Open] = {}
        self._inside: _Open | None = None
        self.outside = True  # no block has begun
        self.size = 0

    def takes(self, data: bytes) -> bool:
        """Whether the message belongs to a streamed transaction: then it goes to `feed`, and nowhere else."""
        return self._inside is not None or data[:1] in b"ScA"

    def feed(self, lsn: int, data: bytes) -> Ended | None:
        """What has ended with this message, if something. Raises: ProtocolError, SpoolFull."""
        try:
            if self._inside is None:
                return self._frame(data)
            if data[:1] == _STOP:
                self._inside, self.outside = None, True
            elif data[:1] == _ORIGIN:
                self._write(lsn, 0, data)
            else:
                self._write(lsn, _XID(data, 1)[0], data[:1] + data[5:])
        except error as e:
            raise ProtocolError(f"pgoutput message {data[:1]!r} of {len(data)} bytes is damaged: {e}") from e
        return None

    def close(self) -> None:
        for transaction in self._transactions.values():
            transaction.file.close()
        self._transactions.clear()
        self.size = 0

    def _frame(self, data: bytes) -> Ended | None:
        match data[:1]:
            case b"S":
                (xid,) = _XID(data, 1)
                self.outside = False
                self._inside = self._transactions.get(xid)
                if self._inside is None:
                    file = tempfile.SpooledTemporaryFile(IN_MEMORY, dir=self._folder)  # noqa: SIM115  until it ends
                    self._inside = self._transactions[xid] = _Open(file)
            case b"c":
                xid, _, commit_lsn, end_lsn, micros = _COMMITTED(data, 1)
                at = pg_time(micros)
                return Ended(Begin(commit_lsn, at, xid), Commit(commit_lsn, end_lsn, at), self._pop(xid))
            case _:
                xid, sub = _ABORTED(data, 1)  # with streaming 'parallel' more follows, which says nothing to us
                if sub == xid:
                    self._pop(xid).file.close()
                else:
                    self._of(xid).aborted.add(sub)
        return None

    def _of(self, xid: int) -> _Open:
        found = self._transactions.get(xid)
        if found is None:
            raise ProtocolError(f"transaction {xid} ends, but was never streamed")
        return found

    def _pop(self, xid: int) -> _Open:
        found = self._of(xid)
        del self._transactions[xid]
        self.size -= found.size
        return found

    def _write(self, lsn: int, xid: int, data: bytes) -> None:
        assert self._inside is not None
        size = _RECORD.size + len(data)
        if self.size + size > self._max_bytes:
            raise SpoolFull(
                f"large transactions that have not ended fill the {self._max_bytes >> 20} MiB allowed on disk"
            )
        try:
            self._inside.file.write(_RECORD.pack(lsn, xid, len(data)))
            self._inside.file.write(data)
        except OSError as e:
            raise SpoolFull(f"a large transaction cannot be kept on disk: {e.strerror}") from e
        self._inside.size += size
        self.size += size
