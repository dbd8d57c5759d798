"""`/v2/enrolments` and what belongs to it: claim codes, tokens, the test pulse (docs/fleet.md)."""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from litestar import Controller, Request, Response, delete, get, post
from litestar.datastructures import State
from litestar.params import Parameter
from sqlalchemy.ext.asyncio import AsyncConnection

from services.chassis.application import Read, Work
from services.chassis.auth import Caller, only, token_sha1
from services.chassis.errors import Problem
from services.devices.domain import claims
from services.devices.domain.devices import Device
from services.devices.fleet.tries import Tries
from services.devices.store import assignments, devices, enrolments, orders, tokens
from services.devices.store.orders import Order
from services.devices.store.progress import Progress
from services.devices.v2 import enrolment_schemas as schemas

PULSE = timedelta(minutes=5)
PULSE_SHARE = 0.05


class EnrolmentsV2(Controller):
    path = "/v2"
    tags = ["enrolment"]

    @post("/devices/{device_id:int}/claims", guards=[only("backoffice")], summary="A claim code, shown once")
    async def add_claim(self, work: Work, device_id: int, data: schemas.NewClaim) -> schemas.Claim:
        code = claims.make(secrets.choice)
        async with work() as connection:
            await _found(connection, device_id)
            digest = claims.digest(code)
            assert digest is not None
            id_, ends = await enrolments.add_claim(connection, device_id, digest, timedelta(seconds=data.expires_in_s))
        return schemas.Claim(id_, code, ends)

    @post("/enrolments", summary="A claim code for a token; then a test pulse is to be obeyed")
    async def enrol(
        self,
        request: Request[Any, Any, Any],
        state: State,
        work: Work,
        data: schemas.NewEnrolment,
        key: Annotated[str | None, Parameter(header="Idempotency-Key", min_length=1, max_length=64)] = None,
    ) -> schemas.Enrolled:
        """Who asks shows the code; nothing else is known of it yet. A wrong one is told nothing about why."""
        tries: Tries = state.tries
        if wait := tries.take(_address(request)):
            raise Problem(429, "too many tries from this address", headers={"Retry-After": str(wait)})
        key_sha256 = None if key is None else hashlib.sha256(key.encode()).hexdigest()
        token = secrets.token_urlsafe(24)
        async with work() as connection:
            claim = await _open_claim(connection, data, key_sha256)
            if claim is None:
                await enrolments.count_wrong_try(connection, data.serial)
            else:
                device = await _found(connection, claim.device_id)
                await enrolments.use(connection, claim, key_sha256)
                await tokens.replace(connection, device.id, token_sha1(token))
                await tokens.drop_others(connection, device.id)
                pulse = await _pulse(connection, device)
        if claim is None:
            raise Problem(404, "no open claim has this code and serial", type_="urn:banyan:claim")
        return schemas.Enrolled(
            device.id, token, "claimed", pulse.epoch, device.max_power_w, device.capacity_wh, _shown(pulse)
        )

    @post(
        "/devices/{device_id:int}/pulse",
        guards=[only("backoffice", "device")],
        status_code=202,
        summary="The test pulse once more, while the device is not live",
    )
    async def pulse(self, caller: Caller, work: Work, device_id: int) -> schemas.Pulse:
        caller.require_device(device_id)
        async with work() as connection:
            device = await _found(connection, device_id)
            enrolment = await enrolments.get(connection, device_id)
            if enrolment is None or enrolment.state != "claimed":
                raise Problem(409, f"device {device_id} does not wait for a test pulse")
            return _shown(await _pulse(connection, device))

    @get("/devices/{device_id:int}/enrolment", guards=[only("backoffice", "device")], summary="How far it is")
    async def get_enrolment(self, caller: Caller, read: Read, device_id: int) -> schemas.Enrolment:
        caller.require_device(device_id)
        async with read() as connection:
            await _found(connection, device_id)
            found = await enrolments.get(connection, device_id) or enrolments.Enrolment(device_id, "live")
            epoch = await assignments.epoch(connection, device_id)
        return schemas.Enrolment(
            device_id,
            found.state,  # type: ignore[arg-type]
            epoch,
            found.claimed_at,
            found.live_at,
            found.revoked_at,
        )

    @post("/devices/{device_id:int}/token", guards=[only("device")], summary="A new token, shown once")
    async def rotate(self, caller: Caller, work: Work, device_id: int) -> schemas.NewToken:
        caller.require_device(device_id)
        token = secrets.token_urlsafe(24)
        async with work() as connection:
            await tokens.offer(connection, device_id, token_sha1(token))
        return schemas.NewToken(token, int(tokens.OVERLAP.total_seconds()))

    @delete("/devices/{device_id:int}/token", guards=[only("backoffice")], summary="Shut the device out")
    async def revoke(self, work: Work, device_id: int) -> Response[None]:
        """Its token becomes one that nobody has, so that the monolith refuses it too."""
        async with work() as connection:
            await _found(connection, device_id)
            await tokens.replace(connection, device_id, token_sha1(secrets.token_urlsafe(24)))
            await tokens.drop_others(connection, device_id)
            await enrolments.void_claims(connection, device_id)
            await enrolments.revoked(connection, device_id)
        return Response(None, status_code=204)


def _address(request: Request[Any, Any, Any]) -> str:
    """Whom the gateway before us saw, else whom we see. Who claims to be many still has five tries for a serial."""
    forwarded = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
    return forwarded[:45] or (request.client.host if request.client else "")


async def _found(connection: AsyncConnection, device_id: int) -> Device:
    device = await devices.get(connection, device_id)
    if device is None:
        raise Problem(404, f"there is no device {device_id}")
    return device


async def _open_claim(
    connection: AsyncConnection, data: schemas.NewEnrolment, key_sha256: str | None
) -> enrolments.Claim | None:
    """The claim, if it may be used: for the first time, or again by who lost the answer."""
    digest = claims.digest(data.code)
    claim = None if digest is None else await enrolments.claim_of(connection, digest, data.serial)
    if claim is None or claim.used_at is None:
        return claim
    if key_sha256 is None or key_sha256 != claim.key_sha256:
        return None
    enrolment = await enrolments.get(connection, claim.device_id)
    return claim if enrolment is not None and enrolment.state == "claimed" else None


async def _pulse(connection: AsyncConnection, device: Device) -> Progress:
    order = Order("charge", max(1, int(device.max_power_w * PULSE_SHARE)), PULSE, "pulse", "pulse")
    await orders.lock(connection, device.id)
    made, _ = await orders.issue(connection, device.id, order, datetime.now(UTC))
    await enrolments.claimed(connection, device.id, made.ref)
    return made


def _shown(pulse: Progress) -> schemas.Pulse:
    return schemas.Pulse(pulse.ref, pulse.mode, pulse.power_w, pulse.expires_at)  # type: ignore[arg-type]
