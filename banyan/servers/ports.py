"""Free ports on loopback."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

from banyan.errors import PortDenied, PortInUse

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
    """`preferred` if nobody has it, else one that the kernel picks."""
    if preferred is not None and is_free(preferred):
        return preferred
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


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
