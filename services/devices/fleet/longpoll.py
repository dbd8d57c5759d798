"""`Prefer: wait=N` on a device's document (RFC 7240), before the application: a waiter costs a future, not a request.

Only what is plain is answered here: a device with its own token, that knows a document. All else goes to the
application, which decides as it always does, so nothing is allowed here that is not allowed there.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send
from sqlalchemy.exc import SQLAlchemyError

from services.chassis.telemetry import is_http
from services.devices.domain.documents import Document, tags
from services.devices.fleet.tokens import Tokens
from services.devices.fleet.waiting import Waiting
from services.devices.v2 import showing

LONGEST_S = 60
_PATH = re.compile(r"/v2/devices/([0-9]{1,18})/schedule")
_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?([0-9]{1,4})\"?\s*(?:$|[,;])", re.IGNORECASE)


class LongPoll:
    def __init__(self, app: ASGIApp, waiting: Waiting, tokens: Tokens, seen: Callable[[int], None]) -> None:
        self._app, self._waiting, self._tokens, self._seen = app, waiting, tokens, seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if is_http(scope) and scope["method"] == "GET" and (path := _PATH.fullmatch(scope["path"])) is not None:
            asked = _Asked.read(scope)
            if asked is not None and await self._may_wait(asked, int(path[1])):
                await self._wait(asked, int(path[1]), scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _may_wait(self, asked: _Asked, device_id: int) -> bool:
        if self._waiting.is_full:
            return False
        try:
            async with asyncio.timeout(15):
                return await self._tokens.device_of(asked.token) == device_id
        except (SQLAlchemyError, TimeoutError):
            return False

    async def _wait(self, asked: _Asked, device_id: int, scope: HTTPScope, receive: Receive, send: Send) -> None:
        self._seen(device_id)
        stamp = self._tokens.stamp(device_id)
        try:
            document = await self._waiting.wait(device_id, frozenset([asked.tag]), asked.epoch, asked.seconds)
        except (SQLAlchemyError, OSError):
            await self._app(scope, receive, send)
            return
        is_behind = document is not None and asked.epoch is not None and asked.epoch > document.epoch
        if is_behind or self._tokens.stamp(device_id) != stamp:
            await self._app(scope, receive, send)
            return
        await _answer(asked, document, send)


class _Asked:
    """The headers of a request that may wait."""

    __slots__ = ("epoch", "request_id", "seconds", "tag", "token")

    def __init__(self, token: str, tag: str, seconds: int, epoch: int | None, request_id: bytes | None) -> None:
        self.token, self.tag, self.seconds, self.epoch, self.request_id = token, tag, seconds, epoch, request_id

    @classmethod
    def read(cls, scope: HTTPScope) -> _Asked | None:
        """None for whatever should not wait, or not here: no wish, other credentials, a gateway before us."""
        found: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            found[name.lower()] = value
        if b"prefer" not in found or b"if-none-match" not in found or not found.keys().isdisjoint(_ELSEWHERE):
            return None
        wait = _WAIT.search(found[b"prefer"].decode("latin-1"))
        seconds = min(LONGEST_S, int(wait[1])) if wait is not None else 0
        token = _token(found)
        epoch = found.get(b"banyan-assignment-epoch")
        if not seconds or token is None or (epoch is not None and not epoch.isdigit()):
            return None
        known = list(tags(found[b"if-none-match"].decode("latin-1")))
        if len(known) != 1 or not known[0].startswith('"'):
            return None
        return cls(token, known[0], seconds, None if epoch is None else int(epoch), found.get(b"x-request-id"))


# Who calls by other means; and a gateway, whose places are not for waiting.
_ELSEWHERE = frozenset({b"via", b"x-api-key", b"banyan-identity", b"banyan-dry-run"})


def _token(headers: dict[bytes, bytes]) -> str | None:
    if (token := headers.get(b"x-device-token")) is not None:
        return token.decode("latin-1")
    scheme, _, value = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    return value.strip() if scheme.lower() == "bearer" and value.strip() else None


async def _answer(asked: _Asked, document: Document | None, send: Send) -> None:
    headers = [(b"preference-applied", b"wait=%d" % asked.seconds), (b"vary", b"prefer")]
    if asked.request_id is not None and len(asked.request_id) <= 128:
        headers.append((b"x-request-id", asked.request_id))
    if document is None:
        status, body = 304, b""
        headers.append((b"etag", asked.tag.encode("latin-1")))
    else:
        status, body = 200, showing.encoded(document)
        headers += [(name.lower().encode(), value.encode()) for name, value in showing.headers(document).items()]
        headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
