"""TLS on the listener and to upstreams, with certificates that may change while connections go on.

A context is never changed in place: a new one is made from the new files and serves the handshakes from then on. Files
that cannot be used (half written, the key of another certificate) leave the old context in force, and are tried again
when they change.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from gateway.errors import TableRefused, TlsRefused
from gateway.policies.retry import Cause

if TYPE_CHECKING:
    from gateway.control.table import RouteTable, Upstream

# Forward secrecy and authenticated encryption for TLS 1.2; those of 1.3 all have both.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
HANDSHAKE_SECONDS = 5.0
SHUTDOWN_SECONDS = 1.0

log = structlog.get_logger("gateway.tls")
_Stamp = tuple[tuple[int, int, int] | None, ...]


def _no_password() -> str:
    raise TlsRefused("its key needs a password; give a key without one, readable by the gateway only")


def _common(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    return context


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """For clients. Raises: TlsRefused."""
    context = _common(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    _load_pair(context, certificate, key)
    return context


def client_context(upstream: Upstream) -> ssl.SSLContext:
    """For the servers of this upstream: a valid chain to its CA (else the system's) and the right name are required.

    Raises: TlsRefused.
    """
    context = _common(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    if upstream.ca is None:
        context.load_default_certs()
    else:
        try:
            context.load_verify_locations(upstream.ca)
        except OSError as error:
            raise TlsRefused(f"ca {upstream.ca}: {_reason(error)}") from error
    if upstream.certificate is not None:
        _load_pair(context, Path(upstream.certificate), Path(upstream.certificate_key or upstream.certificate))
    return context


def _load_pair(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except TlsRefused as error:
        raise TlsRefused(f"certificate {certificate}: {error}") from None
    except OSError as error:  # ssl.SSLError is one
        raise TlsRefused(f"certificate {certificate} with key {key}: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "no PEM in it").replace("_", " ").lower()
    return error.strerror or str(error)


def expiry(certificate: Path) -> float | None:
    """Wall-clock seconds at which the first certificate of the file ends; None when that cannot be told."""
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc.timestamp()
    except (OSError, ValueError):
        return None


def _stamp(files: tuple[Path, ...]) -> _Stamp:
    """Changes when a file is written or replaced, also behind a symbolic link."""

    def of(file: Path) -> tuple[int, int, int] | None:
        try:
            found = file.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size

    return tuple(of(file) for file in files)


class Watched:
    """A context made of files, made again when they change."""

    def __init__(self, name: str, files: tuple[Path, ...], make: Callable[[], ssl.SSLContext]) -> None:
        """Raises: TlsRefused when the files cannot be used now."""
        self.name = name
        self.failures = 0
        self.reloads = 0
        self._files = files
        self._make = make
        self._stamp = _stamp(files)
        self.context = make()
        self.expires = expiry(files[0]) if files else None

    def refresh(self, *, anyway: bool = False) -> bool:
        """Look at the files, after a change or `anyway`; whether there is a new context."""
        stamp = _stamp(self._files)
        if stamp == self._stamp and not anyway:
            return False
        self._stamp = stamp
        try:
            self.context = self._make()
        except TlsRefused as error:
            self.failures += 1
            log.error("the new certificate is refused, the old one goes on serving", of=self.name, reason=str(error))
            return False
        self.reloads += 1
        self.expires = expiry(self._files[0])
        log.info("new certificate", of=self.name, days_left=self._days_left())
        return True

    def _days_left(self) -> float | None:
        return None if self.expires is None else round((self.expires - time.time()) / 86_400, 1)

    def figures(self) -> dict[str, float | int | str | None]:
        return {"of": self.name, "expires": self.expires, "failures": self.failures, "reloads": self.reloads}


def listener_tls(certificate: Path, key: Path) -> Watched:
    """Raises: TlsRefused."""
    return Watched("listener", (certificate, key), lambda: server_context(certificate, key))


def upstream_tls(name: str, upstream: Upstream) -> Watched | None:
    """None for plain http. Files that cannot be used trust nobody until they can: calls fail, the gateway does not."""
    if not upstream.urls[0].startswith("https:"):
        return None
    given = (upstream.certificate, upstream.certificate_key, upstream.ca)
    files = tuple(Path(file) for file in given if file is not None)

    def make() -> ssl.SSLContext:
        return client_context(upstream)

    with suppress(TlsRefused):
        return Watched(f"upstream {name}", files, make)
    log.error("the upstream's TLS files cannot be used, no server of it is trusted", upstream=name)
    made = Watched(f"upstream {name}", files, lambda: _common(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)))
    made._make = make
    made._stamp = ()  # tried again at the next look
    return made


class Secure:
    """How the servers of an upstream are reached."""

    __slots__ = ("_name", "_told", "_watched")

    def __init__(self, watched: Watched, server_name: str | None) -> None:
        self._watched = watched
        self._name = server_name
        self._told: dict[str, str] = {}  # url → the reason told last

    def options(self, host: str) -> dict[str, Any]:
        return {"ssl": self._watched.context, "server_hostname": self._name or host}

    def cause_of(self, error: OSError, url: str) -> Cause:
        """Why a connection could not be made; a new reason is told once."""
        if not isinstance(error, ssl.SSLError):
            return Cause.CONNECT
        unverified = isinstance(error, ssl.SSLCertVerificationError)
        reason = str(error.verify_message) if isinstance(error, ssl.SSLCertVerificationError) else _reason(error)
        if self._told.get(url) != reason:
            self._told[url] = reason
            log.error("no secure connection to a server", url=url, reason=reason)
        return Cause.CERTIFICATE if unverified else Cause.HANDSHAKE


def refuse_unusable(table: RouteTable) -> None:
    """Files that a table names must be usable on this node. Raises: TableRefused with every reason."""
    if problems := list(_unusable(table)):
        raise TableRefused(problems)


def _unusable(table: RouteTable) -> Iterator[str]:
    for name, upstream in table.upstreams.items():
        if upstream.urls[0].startswith("https:"):
            try:
                client_context(upstream)
            except TlsRefused as error:
                yield f"upstream {name}: {error}"
