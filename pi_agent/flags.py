"""Ask the flag service (OFREP, bulk evaluation) which backend this device shall use."""

from __future__ import annotations

from dataclasses import dataclass

from pi_agent.errors import Malformed
from pi_agent.exchange import Exchange, Request, expect, json_object

FLAG = "device-backend"
LEGACY = "legacy"
V2 = "v2"


@dataclass(frozen=True, slots=True)
class Flag:
    """The flag's last known value; `etag` lets the next question be answered with 304."""

    value: str = LEGACY
    etag: str | None = None


def evaluate(device_id: int, known: Flag) -> Exchange[Flag]:
    """The flag now. A flag that is gone or has an unknown value counts as its default, legacy."""
    condition = {"If-None-Match": known.etag} if known.etag else {}
    context = {"context": {"targetingKey": str(device_id)}}
    response = yield Request("POST", "/ofrep/v1/evaluate/flags", condition, context, to="flags")
    if expect(response, 200, 304).status == 304:
        return known
    flags = json_object(response).get("flags")
    if not isinstance(flags, list):
        raise Malformed("the answer has no flags")
    value = next((f.get("value") for f in flags if isinstance(f, dict) and f.get("key") == FLAG), LEGACY)
    return Flag(V2 if value == V2 else LEGACY, response.headers.get("etag"))
