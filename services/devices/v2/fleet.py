"""`/v2/fleet`: which batteries there are, and how they do."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from litestar import Controller, get
from litestar.params import Parameter

from services.chassis import cursors
from services.chassis.application import Read
from services.chassis.auth import only
from services.chassis.fields import LONGEST_PAGE, PAGE
from services.devices.store import reported
from services.devices.store.reported import Wanted
from services.devices.v2 import fleet_schemas as schemas

Text = Annotated[str | None, Parameter(max_length=40)]
Share = Annotated[float | None, Parameter(ge=0, le=1)]


class FleetV2(Controller):
    path = "/v2/fleet"
    tags = ["fleet"]
    guards = [only("backoffice")]

    @get(summary="Devices of which all that is asked is so, in the order of their ids")
    async def list_members(
        self,
        read: Read,
        online: bool | None = None,
        of_state: Annotated[Literal["new", "active", "retired"] | None, Parameter(query="state")] = None,
        customer_id: Annotated[int | None, Parameter(ge=1, le=2**63 - 1)] = None,
        model: Text = None,
        serial: Text = None,
        soc_below: Share = None,
        soc_above: Share = None,
        following: schemas.Following | None = None,
        clock_skewed: bool | None = None,
        cursor: Annotated[str | None, Parameter(max_length=200)] = None,
        limit: Annotated[int, Parameter(ge=1, le=LONGEST_PAGE)] = PAGE,
    ) -> schemas.Fleet:
        wanted = Wanted(online, of_state, customer_id, model, serial, soc_below, soc_above, following, clock_skewed)
        after = 0 if cursor is None else cursors.decode(cursor, int)
        async with read() as connection:
            page = await reported.page(connection, wanted, after, limit + 1)
        return schemas.Fleet(
            [_shown(member) for member in page[:limit]],
            cursors.encode(page[limit - 1].device_id) if len(page) > limit else None,
        )

    @get("/counts", summary="How many there are of each kind")
    async def count(self, read: Read) -> schemas.Counts:
        async with read() as connection:
            return msgspec.convert(await reported.counts(connection), schemas.Counts)


def _shown(member: reported.Member) -> schemas.Member:
    fields = {name: getattr(member, name) for name in schemas.Member.__struct_fields__}
    return schemas.Member(**{**fields, "online": bool(member.online)})
