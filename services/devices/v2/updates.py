"""`/v2/updates`: signed manifests of the agent's versions; `/v2/devices/{id}/update`: the one for a device."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import msgspec
from litestar import Controller, Response, get, patch, post
from litestar.datastructures import State
from litestar.params import Parameter
from msgspec import Meta, Struct

from services.chassis.application import Read, Work
from services.chassis.auth import Caller, only
from services.chassis.errors import Problem
from services.devices.domain.documents import tags
from services.devices.domain.versions import PATTERN, numbers
from services.devices.fleet.signing import ALGORITHM, Signer
from services.devices.store import updates
from services.devices.store.updates import Update
from services.devices.v2.fleet_schemas import Line

Version = Annotated[str, Meta(pattern=PATTERN, max_length=20)]
Percent = Annotated[int, Meta(ge=0, le=100)]


class NewUpdate(Struct, forbid_unknown_fields=True):
    version: Version
    url: Annotated[str, Meta(pattern=r"^https://[\x21-\x7e]+$", max_length=2000)]
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Meta(ge=1, le=2**40)]
    min_version: Version | None = None
    percent: Percent = 0
    expires_in_s: Annotated[int, Meta(ge=60, le=366 * 86_400)] = 30 * 86_400


class Payload(Struct):
    """What is signed."""

    version: str
    url: str
    sha256: str
    size: int
    min_version: str | None
    created_at: datetime
    expires_at: datetime


class Manifest(Struct):
    """`payload` and `signature` are URL-safe base64 without padding; the signature is over the payload's bytes."""

    payload: str
    signature: str
    key_id: str
    algorithm: str = ALGORITHM


class Shown(Struct):
    version: str
    url: str
    sha256: str
    size: int
    min_version: str | None
    percent: int
    created_at: datetime
    expires_at: datetime
    key_id: str
    states: dict[str, int]


class Share(Struct, forbid_unknown_fields=True):
    percent: Percent


class Told(Struct, forbid_unknown_fields=True):
    version: Version
    state: Literal["downloaded", "applied", "committed", "rolled_back", "refused"]
    note: Line = ""


class Key(Struct):
    key_id: str
    public_key: str
    algorithm: str = ALGORITHM


class UpdatesV2(Controller):
    path = "/v2"
    tags = ["updates"]

    @post("/updates", guards=[only("backoffice")], summary="A version, signed; given to nobody until it has a share")
    async def add(self, state: State, work: Work, data: NewUpdate) -> Shown:
        signer: Signer | None = state.signer
        if signer is None:
            raise Problem(409, "this service has no key to sign updates with: set DEVICES_OTA_KEY_FILE")
        if data.min_version is not None and numbers(data.min_version) > numbers(data.version):
            raise Problem(422, "min_version is higher than version")
        now = datetime.now(UTC).replace(microsecond=0)
        ends = now + timedelta(seconds=data.expires_in_s)
        content = Payload(data.version, data.url, data.sha256, data.size, data.min_version, now, ends)
        payload, signature = signer.sign(msgspec.json.encode(content))
        update = Update(
            data.version, data.url, data.sha256, data.size, data.min_version, data.percent, now, ends, payload,
            signature, signer.key_id,
        )  # fmt: skip
        async with work() as connection:
            if not await updates.add(connection, update):
                raise Problem(409, f"there is a version {data.version}: what was signed does not change")
        return _shown(update, {})

    @patch("/updates/{version:str}", guards=[only("backoffice")], summary="Give it to a larger or smaller share")
    async def share(self, work: Work, version: str, data: Share) -> Shown:
        async with work() as connection:
            update = await updates.set_percent(connection, version, data.percent)
            if update is None:
                raise Problem(404, f"there is no version {version}")
            return _shown(update, (await updates.states(connection, [version]))[version])

    @get("/updates", guards=[only("backoffice")], summary="Versions, newest first, with how far devices are")
    async def list_updates(self, read: Read) -> list[Shown]:
        async with read() as connection:
            found = await updates.all_(connection)
            states = await updates.states(connection, [update.version for update in found])
        return [_shown(update, states[update.version]) for update in found]

    @get("/update-keys", summary="The key that manifests are verified with")
    async def keys(self, state: State) -> list[Key]:
        """An agent was installed with its own copy; this is for who installs it."""
        signer: Signer | None = state.signer
        return [] if signer is None else [Key(signer.key_id, signer.public_key)]

    @get("/devices/{device_id:int}/update", guards=[only("device")], summary="A newer version for this device, or 204")
    async def for_device(
        self,
        caller: Caller,
        read: Read,
        device_id: int,
        current: Annotated[str | None, Parameter(pattern=PATTERN, max_length=20)] = None,
        known: Annotated[str | None, Parameter(header="If-None-Match", max_length=200)] = None,
    ) -> Response[Manifest | None]:
        caller.require_device(device_id)
        async with read() as connection:
            update = await updates.for_device(connection, device_id, current)
        if update is None:
            return Response(None, status_code=204)
        etag = f'"{update.version}"'
        if known is not None and etag in tags(known):
            return Response(None, status_code=304, headers={"ETag": etag})
        return Response(Manifest(update.payload, update.signature, update.key_id), headers={"ETag": etag})

    @post("/devices/{device_id:int}/update", guards=[only("device")], status_code=204, summary="How far it is")
    async def tell(self, caller: Caller, work: Work, device_id: int, data: Told) -> None:
        caller.require_device(device_id)
        async with work() as connection:
            if not await updates.tell(connection, device_id, data.version, data.state, data.note):
                raise Problem(404, f"there is no version {data.version}")


def _shown(update: Update, states: dict[str, int]) -> Shown:
    return Shown(
        update.version,
        update.url,
        update.sha256,
        update.size,
        update.min_version,
        update.percent,
        update.created_at,
        update.expires_at,
        update.key_id,
        states,
    )
