"""What systemd wants to hear from a service of `Type=notify`: ready, alive, stopping. sd_notify(3) by hand."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


class Notifier:
    """Silent where there is no `NOTIFY_SOCKET`, and where nobody reads it: the battery matters more."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self._socket = None if self._address is None else socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        if self._socket is not None:
            self._socket.setblocking(False)
        ours = environment.get("WATCHDOG_PID") in (None, "", str(os.getpid()))
        usec = environment.get("WATCHDOG_USEC", "")
        #: Seconds after which systemd gives us up; None: it does not watch.
        self.watchdog_s = int(usec) / 1e6 if ours and usec.isascii() and usec.isdigit() and int(usec) else None
        self._pinged: float | None = None

    def ready(self, status: str) -> None:
        self._send(f"READY=1\nSTATUS={status}")

    def stopping(self) -> None:
        self._send("STOPPING=1\nSTATUS=making safe")

    def alive(self, monotonic: float, status: str) -> None:
        """For the control loop itself, each period: sends at most once in a quarter of the watchdog's time."""
        if self.watchdog_s is None:
            return
        if self._pinged is None or monotonic - self._pinged >= self.watchdog_s / 4:
            self._pinged = monotonic
            self._send(f"WATCHDOG=1\nSTATUS={status}")

    def _send(self, text: str) -> None:
        if self._socket is None or self._address is None:
            return
        try:
            self._socket.sendto(text.replace("\x00", " ").encode(), self._address)
        except OSError:
            pass

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()


def _address(value: str) -> str | None:
    """A path, or `@name` for an abstract socket."""
    if not value or value[0] not in "/@":
        return None
    return "\0" + value[1:] if value[0] == "@" else value
