"""What can go wrong in the gateway, told so that the reader knows what to do.

GatewayError
├── SettingsRefused     the environment or a file named by it is unusable
├── TlsRefused          a certificate, key or CA file cannot be used
├── NoPredecessor       there is no running gateway to take over from
├── HandoverFailed      the new gateway did not get ready; the old one goes on
├── TableRefused        a route table is wrong as a whole; carries every reason
├── PortTaken           somebody else listens on the gateway's port
├── NotCompiled         the data path could not be compiled; it runs as it is, only slower
└── AdminError          a call of the admin API failed
    ├── AdminUnreachable    nobody answers at that URL
    ├── AdminUnauthorized   the token was not accepted (401, 403)
    ├── VersionConflict     somebody changed the table meanwhile (412)
    └── AdminRefused        the change itself is wrong (4xx) or could not be made (5xx)
"""

from __future__ import annotations

from collections.abc import Sequence


class GatewayError(Exception):
    """Anything a person or a caller of the gateway can act on."""


class SettingsRefused(GatewayError):
    """A setting is missing or makes no sense."""


class TlsRefused(GatewayError):
    """A file for TLS is missing, unreadable, or does not fit the others."""


class NoPredecessor(GatewayError):
    """Nobody answers at the state folder's handover socket."""


class HandoverFailed(GatewayError):
    """The old gateway was not replaced and serves as before."""


class PortTaken(GatewayError):
    """The address to listen on belongs to another process."""


class TableRefused(GatewayError):
    """A route table was refused whole; the one before it stays in force."""

    def __init__(self, reasons: Sequence[str]) -> None:
        self.reasons = tuple(reasons)
        super().__init__("route table refused: " + "; ".join(self.reasons))


class AdminError(GatewayError):
    """A call of the admin API did not succeed."""


class AdminUnreachable(AdminError):
    """No connection, or no answer in time."""


class AdminUnauthorized(AdminError):
    """The bearer token was missing or wrong."""


class VersionConflict(AdminError):
    """The table is no longer at the version the change was made for: read it again and repeat the change."""

    def __init__(self, expected: int, current: int | None) -> None:
        self.expected = expected
        self.current = current
        found = "another version" if current is None else f"version {current}"
        super().__init__(f"the route table is at {found}, not {expected}: read it again and repeat the change")


class AdminRefused(AdminError):
    """The admin API understood the call and refused it."""

    def __init__(self, status: int, detail: str) -> None:
        self.status = status
        self.detail = detail
        super().__init__(f"the gateway refused the change ({status}): {detail}")


class NotCompiled(GatewayError):
    """The data path could not be compiled; it runs as it is."""
