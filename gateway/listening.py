"""The sockets that a gateway listens on. The parent keeps them open, so that no connection is lost with a process.

A listening socket that is closed takes with it the connections that the kernel has accepted and nobody has taken yet:
their clients are reset, whoever else listens on the port by SO_REUSEPORT. So the parent makes one socket per worker and
worker processes inherit them; a worker that dies, or a gateway that is replaced, leaves its queue to the next one.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from gateway.errors import PortTaken, SettingsRefused
from gateway.settings import Address, Settings
from gateway.tls import HANDSHAKE_SECONDS, SHUTDOWN_SECONDS, Watched

BACKLOG = 2048
# Bytes that may wait in the kernel for a client, besides what is on its way to it. Without it one that does not read is
# fed megabytes first, and many of them keep a worker busy with copying.
UNSENT = 128 * 1024


def bound_socket(address: Address) -> socket.socket:
    """A listening socket that the kernel gives its share of the connections of all on the same address."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # accepted sockets inherit it
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
    sock.setblocking(False)
    sock.bind((address.host, address.port))
    sock.listen(BACKLOG)
    return sock


def free_address(address: Address, name: str) -> Address:
    """The address with a real port. Raises: PortTaken.

    Asked without SO_REUSEPORT: with it a second gateway would silently take a share of the first one's connections.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            message = (
                f"cannot listen on {address} ({error.strerror}): end what listens there, or set {name}; a running "
                "gateway is replaced by: python -m gateway upgrade"
            )
            raise PortTaken(message) from error
        return Address(address.host, probe.getsockname()[1])


@dataclass
class Listening:
    """All sockets of one gateway."""

    plain: list[socket.socket] = field(default_factory=list)
    tls: list[socket.socket] = field(default_factory=list)
    admin: list[socket.socket] = field(default_factory=list)

    @classmethod
    def at(cls, settings: Settings) -> Listening:
        """Raises: PortTaken."""
        made = cls()
        for sockets, address, name, count in (
            (made.plain, settings.listen, "GATEWAY_LISTEN", settings.workers),
            (made.tls, settings.tls_listen, "GATEWAY_TLS_LISTEN", settings.workers),
            (made.admin, settings.admin_listen, "GATEWAY_ADMIN_LISTEN", 1),
        ):
            if address is not None:
                free = free_address(address, name)
                sockets.extend(bound_socket(free) for _ in range(count))
        return made

    def told(self, settings: Settings) -> Settings:
        """The settings with the ports that these sockets have."""
        return replace(
            settings,
            listen=_address(self.plain),
            tls_listen=_address(self.tls),
            admin_listen=_address(self.admin) or settings.admin_listen,
        )

    def suit(self, settings: Settings) -> None:
        """After a take-over: the same addresses, and a socket for each worker at least. Raises: SettingsRefused."""
        for sockets, wanted, name in (
            (self.plain, settings.listen, "GATEWAY_LISTEN"),
            (self.tls, settings.tls_listen, "GATEWAY_TLS_LISTEN"),
            (self.admin, settings.admin_listen, "GATEWAY_ADMIN_LISTEN"),
        ):
            have = _address(sockets)
            if (have is None) != (wanted is None) or (
                have is not None
                and wanted is not None
                and (wanted.host, wanted.port or have.port) != (have.host, have.port)
            ):
                raise SettingsRefused(f"{name} is {wanted or 'off'}, and the running gateway's is {have or 'off'}")
            if have is not None and sockets is not self.admin:
                sockets.extend(bound_socket(have) for _ in range(settings.workers - len(sockets)))

    def of_worker(self, index: int, workers: int) -> tuple[Sequence[socket.socket], Sequence[socket.socket]]:
        """(plain, TLS): with fewer workers than before some have several."""
        return self.plain[index::workers], self.tls[index::workers]

    def every(self) -> list[socket.socket]:
        return [*self.plain, *self.tls, *self.admin]

    def close(self) -> None:
        for sock in self.every():
            sock.close()


def _address(sockets: Sequence[socket.socket]) -> Address | None:
    return Address(*sockets[0].getsockname()[:2]) if sockets else None


class Listener:
    """One inherited socket, served in this process's loop; with TLS by the newest context."""

    def __init__(
        self, fd: int, make: Callable[[], asyncio.Protocol], loop: asyncio.AbstractEventLoop, tls: Watched | None = None
    ) -> None:
        self._socket = socket.socket(fileno=fd)
        self._make = make
        self._loop = loop
        self._tls = tls
        self._server: asyncio.AbstractServer | None = None

    async def open(self) -> None:
        """Begin to accept, or go on with a new TLS context: whoever is connected stays as he is."""
        # Both share the socket's queue for a moment, so nobody is turned away between them.
        before, self._server = self._server, await self._serve()
        if before is not None:
            before.close()

    async def _serve(self) -> asyncio.AbstractServer:
        sock = self._socket.dup()
        if self._tls is None:
            return await self._loop.create_server(self._make, sock=sock, backlog=BACKLOG)
        return await self._loop.create_server(
            self._make,
            sock=sock,
            backlog=BACKLOG,
            ssl=self._tls.context,
            ssl_handshake_timeout=HANDSHAKE_SECONDS,
            ssl_shutdown_timeout=SHUTDOWN_SECONDS,
        )

    async def close(self) -> None:
        """Take what has come so far, then no more."""
        if self._server is not None:
            queue = select.poll()
            queue.register(self._socket, select.POLLIN)
            for _ in range(BACKLOG):
                if not queue.poll(0):
                    break
                await asyncio.sleep(0)
            self._server.close()
        self._socket.close()
