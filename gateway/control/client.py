"""A client of the gateway's admin API, for the plan, the console and the command line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import httpx
import msgspec

from gateway.control.table import RouteTable, decode_table, encode_table
from gateway.errors import AdminRefused, AdminUnauthorized, AdminUnreachable, VersionConflict

QUIET_SECONDS = 10.0  # of a stream that says something every second: after them the gateway is taken for dead


class Applied(msgspec.Struct, frozen=True):
    """What a change of the table came to.

    `applied` of `total` local workers route by `version`, `ms` milliseconds after the change was asked for.
    """

    version: int
    applied: int
    total: int
    ms: float

    @property
    def everywhere(self) -> bool:
        return self.applied == self.total


class AdminClient:
    """Synchronous calls of the admin API.

    Every call raises AdminUnreachable, AdminUnauthorized, VersionConflict or AdminRefused.
    """

    def __init__(
        self, url: str, token: str, *, timeout: float = 5.0, transport: httpx.BaseTransport | None = None
    ) -> None:
        self.url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {token}"}
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=timeout, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def table(self) -> RouteTable:
        return decode_table(self._call("GET", "/v1/table").content)

    def put_table(
        self, table: RouteTable, expected_version: int, actor: str, reason: str, *, durable: bool = True
    ) -> Applied:
        """Replace the whole table if it still is at `expected_version`; the gateway gives it the next version.

        Not `durable`: when the workers have it, before the disk has.
        """
        headers = _conditions(expected_version, actor, durable) | {"Banyan-Reason": _one_line(reason)}
        return _applied(self._call("PUT", "/v1/table", content=encode_table(table), headers=headers))

    def patch_domain(
        self,
        domain: str,
        expected_version: int,
        actor: str,
        reason: str,
        *,
        wave: int | None = None,
        durable: bool = True,
        **changes: Any,
    ) -> Applied:
        """Change phase, canary_percent, owner, epoch, hold or a `shadow_…`; of every wave when `wave` is None.

        `durable`: as for `put_table`.
        """
        body = {**changes, "reason": reason}
        if wave is not None:
            body["wave"] = wave
        headers = _conditions(expected_version, actor, durable)
        return _applied(
            self._call("PATCH", f"/v1/domains/{domain}", content=msgspec.json.encode(body), headers=headers)
        )

    def domains(self) -> dict[str, Any]:
        return self._json("/v1/domains")

    def figures(self) -> dict[str, Any]:
        """The status, with each operation's counters and histogram of times: `gateway.control.status.counted`."""
        return self._json("/v1/figures")

    def whoami(self) -> dict[str, str]:
        """Whose token it is: {name, role: viewer | operator}."""
        found: dict[str, str] = self._json("/v1/whoami")
        return found

    def status(self) -> dict[str, Any]:
        return self._json("/v1/status")

    def shadow(self, domain: str) -> dict[str, Any]:
        """What was compared of a domain, field by field, and samples: docs/architecture.md §7."""
        return self._json(f"/v1/shadow/{domain}")

    def audit(self, limit: int = 100) -> list[dict[str, Any]]:
        """The newest `limit` changes, oldest first: {at, actor, reason, before, after}."""
        entries: list[dict[str, Any]] = self._json(f"/v1/audit?limit={limit}")["entries"]
        return entries

    def tail(self, **filters: str | float | None) -> Iterator[dict[str, Any]]:
        """Live decisions until the iterator is closed: docs/architecture.md §7. Every second at least an `event`.

        Filters: domain, side, method, path, status, min_status, sample.
        """
        given = {name: str(value) for name, value in filters.items() if value is not None}
        patience = httpx.Timeout(self._http.timeout.connect, read=QUIET_SECONDS)
        try:
            with self._http.stream("GET", "/v1/tail", params=given, timeout=patience) as response:
                if not response.is_success:
                    response.read()
                    raise _failure(response)
                for line in response.iter_lines():
                    yield msgspec.json.decode(line)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: httpx.TransportError) -> AdminUnreachable:
        reason = str(error) or type(error).__name__
        return AdminUnreachable(f"the gateway's admin API at {self.url} does not answer: {reason}")

    def _json(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.json.decode(self._call("GET", path).content)
        return found

    def _call(
        self, method: str, path: str, content: bytes | None = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        sent = {"Content-Type": "application/json"} if content is not None else {}
        try:
            response = self._http.request(method, path, content=content, headers={**sent, **(headers or {})})
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        if response.is_success:
            return response
        raise _failure(response)


def _conditions(expected_version: int, actor: str, durable: bool) -> dict[str, str]:
    preferred = {} if durable else {"Prefer": "respond-async"}
    return {"If-Match": f'"{expected_version}"', "Banyan-Actor": _one_line(actor), **preferred}


def _one_line(text: str) -> str:
    """Header values are printable ASCII."""
    return "".join(c if " " <= c <= "~" else "?" for c in text).strip()


def _applied(response: httpx.Response) -> Applied:
    body = msgspec.json.decode(response.content)
    workers = body["workers"]
    return Applied(version=body["version"], applied=workers["applied"], total=workers["total"], ms=body["ms"])


def _failure(response: httpx.Response) -> Exception:
    problem = _problem(response)
    detail = str(problem.get("detail") or problem.get("title") or response.reason_phrase)
    match response.status_code:
        case 401 | 403:
            return AdminUnauthorized(f"the admin API refused the token ({detail}): check GATEWAY_ADMIN_TOKEN")
        case 412:
            expected = response.request.headers.get("If-Match", "").strip('"')
            return VersionConflict(int(expected) if expected.isdigit() else -1, problem.get("version"))
        case status:
            return AdminRefused(status, detail)


def _problem(response: httpx.Response) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(response.content)
    except msgspec.DecodeError:
        return {}
    return body if isinstance(body, dict) else {}
