"""Free ports on loopback."""

from __future__ import annotations

import errno
import itertools
import os
import random
import socket
from pathlib import Path

from banyan.errors import PortDenied, PortInUse

# Below those that the kernel gives to outgoing connections (from 32768), which could take one between our look at it
# and its use.
_LOW, _HIGH = 10_240, 32_768
_given: set[int] = set()

_LISTEN = "0A"  # TCP_LISTEN in /proc/net/tcp


def is_free(port: int) -> bool:
    return _refusal(port) is None


def _refusal(port: int) -> int | None:
    """The errno with which the kernel refuses the port to us; None when we may have it."""
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError as error:
            return error.errno
    return None


def free_port(preferred: int | None = None) -> int:
    """`preferred` if nobody has it, else one of BANYAN_PORT_RANGE (`low-high`), another one each time.

    Raises: PortInUse, when all are taken, or the range is none.
    """
    if preferred is not None and is_free(preferred):
        return preferred
    low, high = _range()
    start = random.randrange(low, high)  # noqa: S311 (who looks at the same time begins elsewhere)
    for _ in range(2):
        for port in itertools.chain(range(start, high), range(low, start)):
            if port not in _given and is_free(port):
                _given.add(port)
                return port
        _given.clear()
    raise PortInUse(f"no port of {low}-{high - 1} is free: name others by BANYAN_PORT_RANGE=low-high")


def _range() -> tuple[int, int]:
    wanted = os.environ.get("BANYAN_PORT_RANGE")
    if not wanted:
        return _LOW, _HIGH
    low, dash, high = wanted.partition("-")
    if dash and low.isdecimal() and high.isdecimal() and 0 < int(low) <= int(high) < 65_536:
        return int(low), int(high) + 1
    raise PortInUse(f"BANYAN_PORT_RANGE={wanted} is no range of ports: say low-high, such as 20000-20999")


def require_free(port: int, what: str) -> int:
    """`port`, which was asked for by number. Raises: PortInUse, PortDenied."""
    refused = _refusal(port)
    if refused in (errno.EACCES, errno.EPERM):
        raise PortDenied(f"port {port} for {what} is not for this user (below 1024 it takes root): choose a higher one")
    if refused is not None:
        who = holder(port)
        raise PortInUse(
            f"port {port} for {what} is in use{f' by {who}' if who else ''}: "
            "stop what listens there, or leave the port out to get a free one"
        )
    return port


def holder(port: int) -> str | None:
    """Who listens at `port`, as "name (pid n)"; None where /proc does not show it to us (another user's)."""
    sockets = {f"socket:[{inode}]" for inode in _listening(port)}
    if not sockets:
        return None
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if any(str(link.readlink()) in sockets for link in (folder / "fd").iterdir()):
                return f"{(folder / 'comm').read_text().strip()} (pid {folder.name})"
        except OSError:  # gone meanwhile, or not ours to look at
            continue
    return None


def _listening(port: int) -> set[str]:
    """The inodes of the sockets that listen at `port` (proc(5), /proc/net/tcp)."""
    found = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = (Path("/proc/net") / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(fields[9])
    return found
