"""Tariffs and their rates."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from flask import Blueprint, Response, jsonify
from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from legacy_monolith import auth, db, localtime, validators
from legacy_monolith.errors import ApiError

blueprint = Blueprint("tariffs", __name__)

#: (hour_from, hour_to, price_kwh)
Rate = tuple[int, int, Decimal]

_SELECT = """
    SELECT t.code, t.name, t.status, t.kind, t.standing_cents, t.vat_pct::text AS vat_pct, t.valid_from,
           r.hour_from, r.hour_to, r.price_kwh::text AS price_kwh
    FROM tariff t LEFT JOIN tariff_rate r ON r.tariff_id = t.id
"""
_ALL = text(_SELECT + 'ORDER BY t.code COLLATE "C", r.hour_from')
_ONE = text(_SELECT + "WHERE t.code = :code ORDER BY r.hour_from")


def _as_json(rows: Iterable[Any]) -> list[dict[str, Any]]:
    tariffs: dict[str, dict[str, Any]] = {}
    for row in rows:
        tariff = tariffs.get(row.code)
        if tariff is None:
            tariff = tariffs[row.code] = {
                "code": row.code,
                "name": row.name,
                "status": row.status,
                "kind": row.kind,
                "standing_cents": row.standing_cents,
                "vat_pct": row.vat_pct,
                "valid_from": localtime.text(row.valid_from),
                "rates": [],
            }
        if row.hour_from is not None:
            tariff["rates"].append({"hour_from": row.hour_from, "hour_to": row.hour_to, "price_kwh": row.price_kwh})
    return list(tariffs.values())


def _one(connection: Connection | Session, code: str) -> dict[str, Any]:
    return _as_json(connection.execute(_ONE, {"code": code}))[0]


def _rates(fields: dict[str, Any], fewest: int) -> list[Rate]:
    """The rates of a body in order of hour: they cover 0 to 24 without gap or overlap."""
    default: object = [] if fewest == 0 else validators.REQUIRED
    rates = sorted(
        (
            validators.integer(item, "hour_from", 0, 23),
            validators.integer(item, "hour_to", 1, 24),
            validators.decimal(item, "price_kwh", 5, "-99999", "99999"),
        )
        for item in validators.items(fields, "rates", most=24, fewest=fewest, default=default)
    )
    edge = 0
    for hour_from, hour_to, _ in rates:
        if hour_from != edge or hour_to <= hour_from:
            raise ApiError(422, "rates must cover the hours 0 to 24 without gap or overlap")
        edge = hour_to
    if rates and edge != 24:
        raise ApiError(422, "rates must cover the hours 0 to 24 without gap or overlap")
    return rates


def _insert_rates(session: Session, tariff_id: int, rates: list[Rate]) -> None:
    if rates:
        session.execute(
            text(
                "INSERT INTO tariff_rate (tariff_id, hour_from, hour_to, price_kwh)"
                " VALUES (:tariff_id, :hour_from, :hour_to, :price_kwh)"
            ),
            [{"tariff_id": tariff_id, "hour_from": a, "hour_to": b, "price_kwh": p} for a, b, p in rates],
        )


@blueprint.get("/api/tariffs")
def list_tariffs() -> Response:
    return jsonify(tariffs=_as_json(db.read().execute(_ALL)))


@blueprint.post("/api/tariffs")
def create_tariff() -> tuple[Response, int]:
    auth.backoffice()
    fields = validators.body()
    values = {
        "code": validators.text(fields, "code", 20),
        "name": validators.text(fields, "name", 100),
        "kind": validators.choice(fields, "kind", ("F", "D")),
        "standing_cents": validators.integer(fields, "standing_cents", 0, 1_000_000),
        "vat_pct": validators.decimal(fields, "vat_pct", 2, "0", "100"),
        "valid_from": validators.timestamp(fields, "valid_from"),
        "updated": localtime.now(),
    }
    rates = _rates(fields, fewest=0)
    session = db.session()
    tariff_id = session.execute(
        text(
            "INSERT INTO tariff (code, name, status, kind, standing_cents, vat_pct, valid_from, updated)"
            " VALUES (:code, :name, 'A', :kind, :standing_cents, :vat_pct, :valid_from, :updated)"
            " ON CONFLICT (code) DO NOTHING RETURNING id"
        ),
        values,
    ).scalar()
    if tariff_id is None:
        raise ApiError(409, "tariff code exists")
    _insert_rates(session, tariff_id, rates)
    made = _one(session, values["code"])
    session.commit()
    return jsonify(made), 201


@blueprint.put("/api/tariffs/<code>/rates")
def put_rates(code: str) -> Response:
    auth.backoffice()
    rates = _rates(validators.body(), fewest=1)
    session = db.session()
    tariff_id = None
    if "\x00" not in code:
        # Two at once: the second waits here, then sees what the first has written.
        tariff_id = session.execute(
            text("SELECT id FROM tariff WHERE code = :code FOR UPDATE"), {"code": code}
        ).scalar()
    if tariff_id is None:
        raise ApiError(404, "tariff not found")
    stored = session.execute(
        text("SELECT hour_from, hour_to, price_kwh FROM tariff_rate WHERE tariff_id = :id ORDER BY hour_from"),
        {"id": tariff_id},
    ).all()
    if [tuple(row) for row in stored] != rates:
        session.execute(text("DELETE FROM tariff_rate WHERE tariff_id = :id"), {"id": tariff_id})
        _insert_rates(session, tariff_id, rates)
        session.execute(
            text("UPDATE tariff SET updated = :now WHERE id = :id"), {"now": localtime.now(), "id": tariff_id}
        )
    changed = _one(session, code)
    session.commit()
    return jsonify(changed)
