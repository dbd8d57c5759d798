"""Updates: signed with a key from a file, given to a share of the fleet, followed to their end."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from litestar.testing import AsyncTestClient

from banyan.servers import Postgres
from services.chassis.errors import SettingsError
from services.devices.fleet.settings import FleetSettings
from services.devices.fleet.signing import Signer
from services.devices.service import devices
from tests.integration.services.conftest import Client, settings
from tests.integration.services.fleet.batteries import database, register
from tests.integration.services.processes import BACK_OFFICE

NEW = {"version": "1.3.0", "url": "https://updates.example.net/a.whl", "sha256": "ab" * 32, "size": 1234}


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "ota.pem"
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(pem)
    return path


@pytest.fixture
async def client(service_postgres: Postgres, key: Path) -> AsyncIterator[Client]:
    app = devices(settings("devices", database(service_postgres)), fleet=FleetSettings(ota_key=key))
    async with AsyncTestClient(app) as client:
        yield client


async def add(client: Client, **more: Any) -> Any:
    return await client.post("/v2/updates", json={**NEW, "percent": 100, **more}, headers=BACK_OFFICE)


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


async def test_a_device_can_verify_what_it_is_told_to_run(client: Client) -> None:
    battery = await register(client)
    assert (await battery.ask("GET", "/update")).status_code == 204
    assert (await add(client, min_version="1.0.0")).status_code == 201
    got = await battery.ask("GET", "/update?current=1.2.0")
    manifest = got.json()
    (public,) = (await client.get("/v2/update-keys")).json()
    assert (manifest["key_id"], manifest["algorithm"]) == (public["key_id"], "Ed25519")
    verifier = Ed25519PublicKey.from_public_bytes(decode(public["public_key"]))
    payload = decode(manifest["payload"])
    verifier.verify(decode(manifest["signature"]), payload)
    with pytest.raises(InvalidSignature):
        verifier.verify(decode(manifest["signature"]), payload.replace(b"1234", b"1235"))
    content = json.loads(payload)
    assert {name: content[name] for name in NEW} == NEW
    again = await battery.ask("GET", "/update?current=1.2.0", {"If-None-Match": got.headers["ETag"]})
    assert again.status_code == 304


@pytest.mark.parametrize(
    ("current", "status"), [("1.2.9", 200), ("1.3.0", 204), ("1.10.0", 204), ("0.9.0", 204), ("1.0", 400), ("x", 400)]
)
async def test_only_what_is_newer_and_fits_is_told(client: Client, current: str, status: int) -> None:
    battery = await register(client)
    await add(client, min_version="1.0.0")
    assert (await battery.ask("GET", f"/update?current={current}")).status_code == status


async def test_a_share_grows_and_those_that_had_it_keep_it(client: Client) -> None:
    fleet = [await register(client, f"B{n}") for n in range(30)]
    await add(client, percent=0)

    async def told(percent: int) -> set[int]:
        await client.patch("/v2/updates/1.3.0", json={"percent": percent}, headers=BACK_OFFICE)
        return {b.id for b in fleet if (await b.ask("GET", "/update")).status_code == 200}

    none, some, all_ = await told(0), await told(50), await told(100)
    assert none == set() < some < all_ == {battery.id for battery in fleet}


async def test_how_far_devices_are_is_counted(client: Client) -> None:
    fleet = [await register(client, f"B{n}") for n in range(3)]
    await add(client)
    for battery, state in zip(fleet, ("committed", "committed", "rolled_back"), strict=True):
        for word in ("downloaded", state):
            body = {"version": "1.3.0", "state": word, "note": "self-test"}
            assert (await battery.ask("POST", "/update", json=body)).status_code == 204
    (shown,) = (await client.get("/v2/updates", headers=BACK_OFFICE)).json()
    assert shown["states"] == {"committed": 2, "rolled_back": 1}
    unknown = await fleet[0].ask("POST", "/update", json={"version": "9.9.9", "state": "applied"})
    assert unknown.status_code == 404


async def test_what_was_signed_does_not_change(client: Client) -> None:
    await add(client)
    assert (await add(client, size=1)).status_code == 409


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"url": "http://x/y"}, 400), ({"version": "1.3"}, 400), ({"version": "01.3.0"}, 400), ({"sha256": "x"}, 400),
        ({"min_version": "1.4.0"}, 422), ({"percent": 101}, 400), ({"more": 1}, 400),
    ],
)  # fmt: skip
async def test_a_bad_update_is_refused(client: Client, more: dict[str, Any], status: int) -> None:
    assert (await add(client, **more)).status_code == status
    assert (await client.get("/v2/updates", headers=BACK_OFFICE)).json() == []


async def test_devices_do_not_publish_updates(client: Client) -> None:
    battery = await register(client)
    assert (await client.post("/v2/updates", json=NEW, headers=battery.bearer)).status_code == 403


async def test_without_a_key_nothing_is_published(service_postgres: Postgres) -> None:
    async with AsyncTestClient(devices(settings("devices", database(service_postgres)))) as client:
        assert (await add(client)).status_code == 409
        assert (await client.get("/v2/update-keys")).json() == []


def test_a_key_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with pytest.raises(SettingsError, match="DEVICES_OTA_KEY_FILE"):
        Signer.load(path)
    path.write_text("no key")
    with pytest.raises(SettingsError, match="DEVICES_OTA_KEY_FILE"):
        Signer.load(path)
