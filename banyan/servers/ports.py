"""Free ports on loopback."""

from __future__ import annotations

import socket

from banyan.errors import PortInUse


def is_free(port: int) -> bool:
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port(preferred: int | None = None) -> int:
    """`preferred` if nobody has it, else one that the kernel picks."""
    if preferred is not None and is_free(preferred):
        return preferred
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def require_free(port: int, what: str) -> int:
    """`port`, or PortInUse when it was asked for by number and is taken."""
    if not is_free(port):
        raise PortInUse(
            f"port {port} for {what} is in use: stop what listens there, or leave the port out to get a free one"
        )
    return port
