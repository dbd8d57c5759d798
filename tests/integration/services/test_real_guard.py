"""With the real guard in its database, a service writes exactly while it owns the domain."""

from __future__ import annotations

import psycopg

from cdc.guard.install import install
from cdc.guard.ownership import fence, read_ownership, set_owner
from cdc.guard.waves import WHOLE
from cdc.mapping.load import load
from tests.integration.services.conftest import Client
from tests.integration.services.processes import ROOT
from tests.integration.services.test_guarded_writes import TARIFF, WRITES


async def write_everything(client: Client) -> list[tuple[int, str | None, str | None]]:
    answers = [
        await client.request(method, path, json=body, headers={"Idempotency-Key": path})
        for method, path, body in WRITES
    ]
    return [(a.status_code, a.headers.get("Banyan-Owner"), a.headers.get("Banyan-Epoch")) for a in answers]


async def test_a_service_writes_exactly_while_it_owns_the_domain(back_office: Client, pricing_dsn: str) -> None:
    assert (await back_office.post("/api/tariffs", json=TARIFF)).status_code == 201
    mapping = load(ROOT / "migration_plan" / "mappings" / "pricing.yaml")
    with psycopg.connect(pricing_dsn, autocommit=True) as guard:
        install(guard, mapping, "service", WHOLE)
        (wave,) = read_ownership(guard, "pricing")
        assert await write_everything(back_office) == [(421, "legacy", str(wave.epoch))] * len(WRITES)
        assert (await back_office.get("/api/tariffs")).status_code == 200

        set_owner(guard, "pricing", 0, "service", wave.epoch, wave.epoch + 1)
        assert all(status in (200, 201) for status, _, _ in await write_everything(back_office))

        moved = fence(guard, "pricing", 0, wave.epoch + 1, 500)
        refused = await write_everything(back_office)
    # Repeats of what is stored write nothing, so they are answered; whatever would write is refused.
    assert {answer for answer in refused if answer[0] >= 400} == {(421, "moving", str(moved.epoch))}
    assert [status for status, _, _ in refused].count(421) >= 3
