"""`seed`: the same made-up customers, contracts, meters, tariffs, devices and preferences every time."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import random
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg

from legacy_monolith.auth import token_sha1
from legacy_monolith.customers import passwords

PASSWORD = "welkom-banyan"  # noqa: S105  (of made-up customers)
SINCE = datetime(2023, 1, 1)
SLOTS = "0100-0500 C2500;0500-1700 H0;1700-2100 D2500"

_FIRST = ("Anna", "Bram", "Chantal", "Daan", "Eva", "Fatima", "Gijs", "Hanna", "Ilse", "Jeroen", "Khadija", "Lars")
_LAST = ("de Vries", "Jansen", "Bakker", "Yılmaz", "Visser", "Smit", "Mulder", "van Dijk", "El Amrani", "Bos")
_CITIES = ("Utrecht", "Zwolle", "Eindhoven", "Groningen", "Haarlem", "Tilburg")

#: code, name, kind, standing charge in cents a day, rates (hour_from, hour_to, EUR a kWh)
_TARIFFS: tuple[tuple[str, str, str, int, tuple[tuple[int, int, str], ...]], ...] = (
    ("VAST-2023", "Vast 2023", "F", 25, ((0, 24, "0.28500"),)),
    ("DAL-2023", "Dal en piek 2023", "F", 27, ((0, 7, "0.24500"), (7, 23, "0.31900"), (23, 24, "0.24500"))),
    ("DYN-2023", "Dynamisch 2023", "D", 21, ((0, 24, "0.00000"),)),
)


@dataclass(frozen=True, slots=True)
class Seeded:
    customers: int
    added: int
    tokens: dict[int, str]


def device_token(secret: str, serial: str) -> str:
    """The token of a seeded device: always the same for the same secret."""
    return hmac.new(secret.encode(), serial.encode(), hashlib.sha256).hexdigest()


def seed(url: str, customers: int, secret: str, password: str = PASSWORD) -> Seeded:
    """In one transaction. What is there stays as it is, so that seeding again changes nothing."""
    with psycopg.connect(url, application_name="legacy-seed") as connection:
        tariffs = [_tariff(connection, *tariff) for tariff in _TARIFFS]
        known = _count(connection)
        # One hash for all of them: hashing is slow on purpose.
        password_hash = passwords.hashed(password)
        for number in range(1, customers + 1):
            _household(connection, number, tariffs[number % len(tariffs)], password_hash, secret)
        added = _count(connection) - known
        devices = connection.execute(
            "SELECT id, serial, token_sha1 FROM device WHERE serial LIKE 'BAT-%' ORDER BY id"
        ).fetchall()
    tokens = {device: device_token(secret, serial) for device, serial, _ in devices}
    stored = {device: sha1 for device, _, sha1 in devices}
    return Seeded(customers, added, {d: t for d, t in tokens.items() if token_sha1(t) == stored[d]})


def write_tokens(path: Path, tokens: dict[int, str]) -> None:
    """`{"<device id>": "<token>"}`, for the owner's eyes only."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(tokens, file, indent=1)
        file.write("\n")


def _count(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("SELECT count(*) FROM customer").fetchone()
    assert row is not None
    return int(row[0])


def _add(connection: psycopg.Connection[Any], table: str, unique: str, values: dict[str, Any]) -> tuple[int, bool]:
    """The row's id, and whether it is new."""
    columns = ", ".join(values)
    marks = ", ".join(f"%({name})s" for name in values)
    made = connection.execute(
        f"INSERT INTO {table} ({columns}) VALUES ({marks}) ON CONFLICT ({unique}) DO NOTHING RETURNING id", values
    ).fetchone()
    if made:
        return int(made[0]), True
    row = connection.execute(f"SELECT id FROM {table} WHERE {unique} = %s", (values[unique],)).fetchone()
    assert row is not None
    return int(row[0]), False


def _tariff(
    connection: psycopg.Connection[Any],
    code: str,
    name: str,
    kind: str,
    standing_cents: int,
    rates: tuple[tuple[int, int, str], ...],
) -> int:
    values = {
        "code": code, "name": name, "status": "A", "kind": kind, "standing_cents": standing_cents,
        "vat_pct": Decimal("21.00"), "valid_from": SINCE, "updated": SINCE,
    }  # fmt: skip
    tariff_id, new = _add(connection, "tariff", "code", values)
    if new:
        for since, to, price in rates:
            connection.execute(
                "INSERT INTO tariff_rate (tariff_id, hour_from, hour_to, price_kwh) VALUES (%s, %s, %s, %s)",
                (tariff_id, since, to, Decimal(price)),
            )
    return tariff_id


def _household(
    connection: psycopg.Connection[Any], number: int, tariff_id: int, password_hash: str, secret: str
) -> None:
    dice = random.Random(number)  # noqa: S311
    customer_id, new = _add(connection, "customer", "email", {
        "email": f"customer-{number:04d}@example.net",
        "name": f"{dice.choice(_FIRST)} {dice.choice(_LAST)}",
        "phone": f"+316{dice.randrange(10**7, 10**8)}", "city": dice.choice(_CITIES),
        "status": "A", "password_hash": password_hash, "created": SINCE, "updated": SINCE,
    })  # fmt: skip
    if not new:
        return
    row = connection.execute(
        "INSERT INTO contract (customer_id, tariff_id, area, start_day, status, created)"
        " VALUES (%s, %s, 'NL', %s, 'A', %s) RETURNING id",
        (customer_id, tariff_id, date(2023, 1, 1), SINCE),
    ).fetchone()
    assert row is not None
    _add(connection, "meter", "ean", {"contract_id": row[0], "ean": f"8716{number:014d}", "created": SINCE})
    serial = f"BAT-{number:06d}"
    device_id, _ = _add(connection, "device", "serial", {
        "serial": serial, "customer_id": customer_id, "model": dice.choice(("Powerbox 5", "Powerbox 10")),
        "capacity_wh": 10_000, "max_power_w": 5_000, "status": "A",
        "token_sha1": token_sha1(device_token(secret, serial)), "registered": SINCE,
    })  # fmt: skip
    connection.execute(
        "INSERT INTO schedule (device_id, version, slots, updated) VALUES (%s, 1, %s, %s)", (device_id, SLOTS, SINCE)
    )
    quiet = ("22:30", "07:00") if number % 4 == 0 else (None, None)
    connection.execute(
        "INSERT INTO notification_pref (customer_id, email, sms, push, quiet_from, quiet_to, updated)"
        " VALUES (%s, 'Y', %s, 'N', %s, %s, %s)",
        (customer_id, "Y" if number % 2 else "N", *quiet, SINCE),
    )
