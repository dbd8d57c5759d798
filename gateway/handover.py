"""How a new gateway takes the place of a running one, without a request lost on the way.

Over a Unix socket in the state folder, one JSON line each way, asked by the new parent in this order:

1. `take`: the old parent hands over its listening sockets (SCM_RIGHTS). Both have them open from here on, so that no
   connection waiting in them is ever reset. The new parent starts its workers; they do not accept yet.
2. `yield`: the old admin process ends, so that only one process ever writes table and audit. The new one starts.
3. `leave`: the new workers accept; the old ones take what has come, answer it and end, and so does their parent.

A new parent that goes away before `leave` changes nothing: the old one starts its admin process again and goes on.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from gateway.control.link import make_way
from gateway.errors import HandoverFailed, NoPredecessor
from gateway.listening import Listening

MOST_SOCKETS = 250  # what the kernel passes at once
ANSWER_SECONDS = 15.0
_LONGEST = 64 * 1024

Answer = Callable[[], dict[str, Any]]


class Offer:
    """The old parent's end: one new parent at a time is served, between two looks at the children."""

    def __init__(
        self, path: Path, listening: Listening, answers: Mapping[str, Answer], on_lost: Callable[[], None]
    ) -> None:
        """`on_lost`: the new parent went away before it had everything."""
        self._path = path
        self._listening = listening
        self._answers = answers
        self._on_lost = on_lost
        self._peer: socket.socket | None = None
        make_way(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        old_mask = os.umask(0o177)
        try:
            self._socket.bind(str(path))
        finally:
            os.umask(old_mask)
        self._socket.listen(1)

    def serve(self, seconds: float) -> None:
        """Wait so long for a question, and answer it."""
        watched = self._peer or self._socket
        ready, _, _ = select.select([watched], [], [], seconds)
        if not ready:
            return
        if self._peer is None:
            self._peer, _ = self._socket.accept()
            self._peer.settimeout(ANSWER_SECONDS)
            return
        try:
            self._one(self._peer)
        except (OSError, msgspec.DecodeError, KeyError):
            self._lose()

    def _one(self, peer: socket.socket) -> None:
        line = peer.recv(_LONGEST)
        if not line:
            self._lose()
            return
        do = msgspec.json.decode(line)["do"]
        sockets = self._listening.every() if do == "take" else []
        told = msgspec.json.encode(self._answers[do]()) + b"\n"
        socket.send_fds(peer, [told], [sock.fileno() for sock in sockets])

    def _lose(self) -> None:
        peer, self._peer = self._peer, None
        if peer is not None:
            peer.close()
        self._on_lost()

    def close(self) -> None:
        """The path goes first: after it the new parent may have it."""
        self._path.unlink(missing_ok=True)
        self._socket.close()
        if self._peer is not None:
            self._peer.close()


class TakeOver:
    """The new parent's end."""

    def __init__(self, path: Path) -> None:
        """Raises: NoPredecessor."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(ANSWER_SECONDS)
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise NoPredecessor(
                f"no gateway runs with this GATEWAY_STATE_DIR ({error.strerror}): use serve alone"
            ) from error

    def take(self) -> tuple[Listening, dict[str, Any]]:
        """The sockets, and what the old parent tells of itself. Raises: HandoverFailed."""
        self._send("take")
        with self._translated():
            line, fds, _, _ = socket.recv_fds(self._socket, _LONGEST, MOST_SOCKETS)
            told = msgspec.json.decode(line)
        sockets = iter([socket.socket(fileno=fd) for fd in fds])
        parts = {name: [next(sockets) for _ in range(told["sockets"][name])] for name in ("plain", "tls", "admin")}
        return Listening(**parts), told

    def ask(self, do: str) -> None:
        """Raises: HandoverFailed."""
        self._send(do)
        with self._translated():
            if not self._socket.recv(_LONGEST):
                raise HandoverFailed("the old gateway went away in the middle of the handover")

    def _send(self, do: str) -> None:
        with self._translated():
            self._socket.sendall(msgspec.json.encode({"do": do}) + b"\n")

    @contextlib.contextmanager
    def _translated(self) -> Any:
        try:
            yield
        except (OSError, msgspec.DecodeError) as error:
            raise HandoverFailed(f"the old gateway does not answer: {error or type(error).__name__}") from error

    def close(self) -> None:
        self._socket.close()
