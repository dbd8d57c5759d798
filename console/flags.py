"""Feature flags over OFREP (OpenFeature Remote Evaluation Protocol 0.3): which backend a device shall use.

The value is derived, never set: `v2` while the service owns the device's wave, else `legacy`. So a switch of ownership,
or its rollback, is all that it takes to move a fleet, and the flag cannot disagree with the route table.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from litestar import Request, Response, Router, post
from litestar.params import FromPath
from litestar.status_codes import HTTP_200_OK, HTTP_304_NOT_MODIFIED, HTTP_400_BAD_REQUEST, HTTP_404_NOT_FOUND

FLAG = "device-backend"
#: An evaluation context is some hundred bytes.
MAX_BODY = 16 * 1024
MAX_KEY = 128

#: The owner (legacy, service, moving) of a device's wave by device id; None when it is not known.
OwnerOf = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A flag's value for one device."""

    value: str
    reason: str
    owner: str

    def as_json(self) -> dict[str, Any]:
        return {
            "key": FLAG,
            "value": self.value,
            "variant": self.value,
            "reason": self.reason,
            "metadata": {"owner": self.owner},
        }


class ContextRefused(Exception):
    """The request's evaluation context cannot be used; `code` is one of OpenFeature's error codes."""

    def __init__(self, code: str, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details

    def as_json(self) -> dict[str, Any]:
        return {"errorCode": self.code, "errorDetails": self.details}


def evaluate(owner: str | None) -> Evaluation:
    """While a wave is `moving` its devices stay where the default is: legacy takes their calls either way."""
    if owner is None:
        return Evaluation("legacy", "DEFAULT", "unknown")
    return Evaluation("v2" if owner == "service" else "legacy", "SPLIT", owner)


def targeting_key(body: bytes) -> str:
    """The device id of an OFREP request body. Raises: ContextRefused."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        raise ContextRefused("PARSE_ERROR", "the body is not JSON") from None
    if not isinstance(request, dict):
        raise ContextRefused("PARSE_ERROR", "the body must be an object with a context")
    context = request.get("context", {})
    if not isinstance(context, dict):
        raise ContextRefused("INVALID_CONTEXT", "context must be an object")
    key = context.get("targetingKey")
    if key is None or key == "":
        raise ContextRefused("TARGETING_KEY_MISSING", "context.targetingKey must be the device's id")
    if not isinstance(key, str) or len(key) > MAX_KEY or not key.isprintable():
        raise ContextRefused("INVALID_CONTEXT", f"context.targetingKey must be text of at most {MAX_KEY} characters")
    return key


def create_flags_router(owner_of: OwnerOf) -> Router:
    """The two routes of OFREP. `owner_of` may block for a short time: it is called in a thread."""

    async def evaluation_of(request: Request[Any, Any, Any]) -> Evaluation:
        return evaluate(await asyncio.to_thread(owner_of, targeting_key(await request.body())))

    @post("/ofrep/v1/evaluate/flags/{key:str}", status_code=HTTP_200_OK, summary="Evaluate one flag (OFREP)")
    async def single(key: FromPath[str], request: Request[Any, Any, Any]) -> Response[dict[str, Any]]:
        if key != FLAG:
            missing = {"key": key, "errorCode": "FLAG_NOT_FOUND", "errorDetails": f"the only flag is {FLAG}"}
            return Response(missing, status_code=HTTP_404_NOT_FOUND)
        try:
            return Response((await evaluation_of(request)).as_json())
        except ContextRefused as refusal:
            return Response({"key": key, **refusal.as_json()}, status_code=HTTP_400_BAD_REQUEST)

    @post("/ofrep/v1/evaluate/flags", status_code=HTTP_200_OK, summary="Evaluate all flags (OFREP)")
    async def bulk(request: Request[Any, Any, Any]) -> Response[Any]:
        try:
            evaluation = await evaluation_of(request)
        except ContextRefused as refusal:
            return Response(refusal.as_json(), status_code=HTTP_400_BAD_REQUEST)
        flags = {"flags": [evaluation.as_json()]}
        etag = entity_tag(flags)
        if matches(request.headers.get("if-none-match"), etag):
            return Response(None, status_code=HTTP_304_NOT_MODIFIED, headers={"ETag": etag})
        return Response(flags, headers={"ETag": etag})

    return Router("/", route_handlers=[single, bulk], request_max_body_size=MAX_BODY, tags=["flags"])


def entity_tag(value: object) -> str:
    return f'"{sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]}"'


def matches(if_none_match: str | None, etag: str) -> bool:
    """Weak comparison, RFC 9110 §13.1.2."""
    if if_none_match is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or etag in tags
