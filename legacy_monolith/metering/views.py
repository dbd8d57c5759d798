"""Meters and their hourly readings."""

from __future__ import annotations

import re
from typing import Any

from flask import Blueprint, Response, jsonify
from sqlalchemy import text

from legacy_monolith import auth, db, localtime, validators
from legacy_monolith.customers.models import Contract
from legacy_monolith.errors import ApiError
from legacy_monolith.metering.models import Meter

blueprint = Blueprint("metering", __name__)

MOST_READINGS = 10_000
LONGEST_DAYS = 366

_EAN = re.compile(r"[0-9]{18}", re.ASCII)

# See the prices' upsert: one statement, ordered, unchanged rows untouched.
_UPSERT = text("""
    WITH written AS (
        INSERT INTO reading (meter_id, ts, hour_flag, kwh, updated)
        SELECT meter_id, ts, hour_flag, kwh, :now
        FROM unnest(
            CAST(:meters AS bigint[]), CAST(:ts AS timestamp[]), CAST(:flags AS text[]), CAST(:kwh AS numeric[])
        ) AS i (meter_id, ts, hour_flag, kwh)
        ORDER BY meter_id, ts, hour_flag
        ON CONFLICT (meter_id, ts, hour_flag) DO UPDATE SET kwh = excluded.kwh, updated = excluded.updated
            WHERE reading.kwh IS DISTINCT FROM excluded.kwh
        RETURNING xmax = 0 AS inserted
    )
    SELECT count(*) FILTER (WHERE inserted), count(*) FILTER (WHERE NOT inserted) FROM written
""")
_READINGS = text(
    "SELECT ts, hour_flag, kwh::text FROM reading"
    " WHERE meter_id = :meter_id AND ts >= :first AND ts < :last ORDER BY ts, hour_flag"
)
_CUSTOMER_OF_METER = text(
    "SELECT c.customer_id FROM meter m JOIN contract c ON c.id = m.contract_id WHERE m.id = :meter_id"
)


def _as_json(meter: Meter) -> dict[str, Any]:
    return {
        "id": meter.id,
        "contract_id": meter.contract_id,
        "ean": meter.ean,
        "created": localtime.text(meter.created),
    }


@blueprint.get("/api/meters")
def list_meters() -> Response:
    auth.backoffice()
    limit, after = validators.query_page()
    query = db.session().query(Meter).filter(Meter.id > after)
    if (contract_id := validators.query_id("contract_id")) is not None:
        query = query.filter_by(contract_id=contract_id)
    rows = query.order_by(Meter.id).limit(limit + 1).all()
    return jsonify(
        meters=[_as_json(row) for row in rows[:limit]], next=rows[limit - 1].id if len(rows) > limit else None
    )


@blueprint.post("/api/meters")
def create_meter() -> tuple[Response, int]:
    auth.backoffice()
    fields = validators.body()
    contract_id = validators.identifier(fields, "contract_id")
    ean = validators.text(fields, "ean", 18)
    if not _EAN.fullmatch(ean):
        raise ApiError(422, "ean must have 18 digits")
    session = db.session()
    if session.get(Contract, contract_id) is None:
        raise ApiError(404, "contract not found")
    if session.query(Meter).filter_by(ean=ean).count():
        raise ApiError(409, "ean exists")
    meter = Meter(contract_id=contract_id, ean=ean, created=localtime.now())
    session.add(meter)
    session.commit()
    return jsonify(_as_json(meter)), 201


@blueprint.get("/api/meters/<id:meter_id>")
def get_meter(meter_id: int) -> Response:
    auth.backoffice()
    meter = db.session().get(Meter, meter_id)
    if meter is None:
        raise ApiError(404, "meter not found")
    return jsonify(_as_json(meter))


@blueprint.get("/api/meters/<id:meter_id>/readings")
def list_readings(meter_id: int) -> Response:
    caller = auth.customer_or_backoffice()
    first, last = validators.query_days(LONGEST_DAYS)
    customer_id = db.read().execute(_CUSTOMER_OF_METER, {"meter_id": meter_id}).scalar()
    if customer_id is None:
        raise ApiError(404, "meter not found")
    auth.own(caller, customer_id)
    rows = db.read().execute(_READINGS, {"meter_id": meter_id, "first": first, "last": last})
    return jsonify(
        meter_id=meter_id,
        readings=[{"ts": localtime.text(ts), "hour_flag": flag, "kwh": kwh} for ts, flag, kwh in rows],
    )


@blueprint.post("/api/readings")
def post_readings() -> Response:
    auth.backoffice()
    meters, ts, flags, amounts, seen = [], [], [], [], set()
    for item in validators.items(validators.body(), "readings", most=MOST_READINGS):
        meters.append(validators.identifier(item, "meter_id"))
        hour = validators.hour(item)
        amounts.append(validators.decimal(item, "kwh", 3, "-1000000", "1000000"))
        if (meters[-1], *hour) in seen:
            raise ApiError(422, f"meter {meters[-1]}: local time {localtime.text(hour[0])} comes twice")
        seen.add((meters[-1], *hour))
        ts.append(hour[0])
        flags.append(hour[1])
    session = db.session()
    known = session.execute(
        text("SELECT count(*) FROM meter WHERE id = ANY(:ids)"), {"ids": list(set(meters))}
    ).scalar()
    if known != len(set(meters)):
        raise ApiError(404, "meter not found")
    columns = {"meters": meters, "ts": ts, "flags": flags, "kwh": amounts}
    inserted, updated = session.execute(_UPSERT, {"now": localtime.now(), **columns}).one()
    session.commit()
    return jsonify(inserted=inserted, updated=updated, unchanged=len(ts) - inserted - updated)
