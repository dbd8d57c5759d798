"""The public keys of one issuer: fetched now and then, kept when the issuer is away, asked again for an unknown key id.

No request waits for a fetch but the first ones with a key id that we have not seen, and those only as long as one fetch
may take; a key id that stays unknown starts at most one fetch in AGAIN_SECONDS.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import httpx
import jwt
import msgspec
import structlog

from gateway.control.front import Issuer

FETCH_SECONDS = 2.0
AGAIN_SECONDS = 5.0  # between two fetches that unknown key ids ask for
LONGEST_BACKOFF = 30.0
MOST_BYTES = 256 * 1024
MOST_KEYS = 50

log = structlog.get_logger("gateway.auth")

Keys = dict[str, jwt.PyJWK]


class KeyRing:
    def __init__(self, issuer: Issuer, folder: Path | None, changed: Callable[[], None]) -> None:
        self.issuer = issuer
        self.keys: Keys = {}
        self.away = False  # the last fetch failed: a key that we do not know may well be the issuer's
        self._changed = changed
        self._document = b""
        self._file = _file(folder, issuer) if folder is not None else None
        self._waiting: list[Callable[[], None]] = []
        self._asked = -AGAIN_SECONDS  # loop time of the last fetch that an unknown key id asked for
        self._wanted = asyncio.Event()
        self._take_last_known()
        self._task = asyncio.get_running_loop().create_task(self._run())

    def close(self) -> None:
        self._task.cancel()
        self._release()

    def find(self, key_id: str | None) -> jwt.PyJWK | None:
        """The key; a token that names none means the only one."""
        if key_id is not None:
            return self.keys.get(key_id)
        return next(iter(self.keys.values())) if len(self.keys) == 1 else None

    def ask(self, then: Callable[[], None]) -> bool:
        """Fetch because of an unknown key id, and call `then` when that is done. False: it was tried a moment ago."""
        now = asyncio.get_running_loop().time()
        if not self._waiting:
            if now - self._asked < AGAIN_SECONDS:
                return False
            self._asked = now
            self._wanted.set()
        self._waiting.append(then)
        return True

    async def _run(self) -> None:
        backoff = 1.0
        async with httpx.AsyncClient(timeout=FETCH_SECONDS, follow_redirects=False) as client:
            while True:
                self._wanted.clear()
                try:
                    self._take(await self._fetch(client))
                    pause, backoff, self.away = self.issuer.refresh, 1.0, False
                except Exception as error:  # of whatever kind: requests wait for what this task says next
                    self.away = True
                    reason = str(error) or type(error).__name__
                    log.warning(
                        "the issuer's keys cannot be fetched, the last known stay in force",
                        issuer=self.issuer.issuer, keys=len(self.keys), error=reason,
                    )  # fmt: skip
                    pause, backoff = min(backoff, self.issuer.refresh), min(backoff * 2, LONGEST_BACKOFF)
                self._release()
                try:
                    async with asyncio.timeout(pause):
                        await self._wanted.wait()
                except TimeoutError:
                    pass

    async def _fetch(self, client: httpx.AsyncClient) -> bytes:
        document = b""
        async with asyncio.timeout(FETCH_SECONDS), client.stream("GET", self.issuer.jwks) as answer:
            answer.raise_for_status()
            async for piece in answer.aiter_bytes():
                document += piece
                if len(document) > MOST_BYTES:
                    raise ValueError(f"the JWKS is longer than {MOST_BYTES} bytes")
        return document

    def _take(self, document: bytes) -> None:
        """Raises: ValueError; then nothing has changed."""
        if document == self._document:
            return
        keys = keys_of(document)
        if not keys:
            raise ValueError("the JWKS has no key that we can use")
        self.keys, self._document = keys, document
        self._changed()
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            temporary = self._file.with_suffix(f".{os.getpid()}.tmp")
            temporary.write_bytes(document)
            temporary.replace(self._file)

    def _take_last_known(self) -> None:
        """A worker that starts while the issuer is away knows what its node knew."""
        try:
            if self._file is not None:
                document = self._file.read_bytes()
                self.keys, self._document = keys_of(document), document
        except (OSError, ValueError):
            pass

    def _release(self) -> None:
        waiting, self._waiting = self._waiting, []
        tell(waiting)


def tell(waiting: Iterable[Callable[[], None]]) -> None:
    """Call each, whatever comes of the one before it."""
    for then in waiting:
        try:
            then()
        except Exception:
            log.exception("a request that waited to learn who calls failed")


def keys_of(document: bytes) -> Keys:
    """Signing keys by id, of the kinds that have a public half. Raises: ValueError."""
    try:
        listed = msgspec.json.decode(document, type=dict[str, Any])["keys"]
        if not isinstance(listed, list):
            raise ValueError("the JWKS has no list of keys")
    except (msgspec.DecodeError, KeyError) as error:
        raise ValueError(f"not a JWKS: {error}") from error
    keys: Keys = {}
    for entry in listed[:MOST_KEYS]:
        if not isinstance(entry, dict) or entry.get("kty") not in ("RSA", "EC", "OKP") or entry.get("use") == "enc":
            continue
        try:
            keys[str(entry.get("kid", ""))] = jwt.PyJWK(entry)
        except (jwt.PyJWTError, ValueError, TypeError):
            continue  # of a kind that we do not know: its tokens are refused, the others' are not
    return keys


def _file(folder: Path, issuer: Issuer) -> Path:
    return folder / f"{hashlib.sha256(f'{issuer.issuer} {issuer.jwks}'.encode()).hexdigest()[:32]}.json"
