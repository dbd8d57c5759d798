"""Hourly market prices of an area."""

from __future__ import annotations

import re
from typing import Any

from flask import Blueprint, Response, jsonify, request
from sqlalchemy import text

from legacy_monolith import auth, db, localtime, validators
from legacy_monolith.errors import ApiError

blueprint = Blueprint("prices", __name__)

MOST_PRICES = 10_000
LONGEST_DAYS = 366

_AREA = re.compile(r"[A-Za-z0-9_-]{1,8}")

_PRICES = text(
    "SELECT ts, hour_flag, eur_mwh::text, source FROM price"
    " WHERE area = :area AND ts >= :first AND ts < :last ORDER BY ts, hour_flag"
)
_DAYS = text(
    "SELECT day, min_eur_mwh::text, max_eur_mwh::text, hours FROM price_daily"
    " WHERE area = :area AND day >= :first AND day < :last ORDER BY day"
)
# One statement. Ordered, so that two batches lock rows and days in the same order; unchanged rows are not touched.
# xmax is 0 in a row version that was inserted.
_UPSERT = text("""
    WITH written AS (
        INSERT INTO price (area, ts, hour_flag, eur_mwh, source, updated)
        SELECT :area, ts, hour_flag, eur_mwh, :source, :now
        FROM unnest(CAST(:ts AS timestamp[]), CAST(:flags AS text[]), CAST(:eur_mwh AS numeric[]))
            AS i (ts, hour_flag, eur_mwh)
        ORDER BY ts, hour_flag
        ON CONFLICT (area, ts, hour_flag) DO UPDATE
            SET eur_mwh = excluded.eur_mwh, source = excluded.source, updated = excluded.updated
            WHERE (price.eur_mwh, price.source) IS DISTINCT FROM (excluded.eur_mwh, excluded.source)
        RETURNING xmax = 0 AS inserted
    )
    SELECT count(*) FILTER (WHERE inserted), count(*) FILTER (WHERE NOT inserted) FROM written
""")


@blueprint.get("/api/prices")
def list_prices() -> Response:
    area = request.args.get("area", "")
    if not _AREA.fullmatch(area):
        raise ApiError(400, "area must be 1 to 8 letters, digits, _ or -")
    first, last = validators.query_days(LONGEST_DAYS)
    wanted = {"area": area, "first": first, "last": last}
    prices = db.read().execute(_PRICES, wanted).all()
    days = db.read().execute(_DAYS, wanted).all()
    return jsonify(
        area=area,
        prices=[
            {"ts": localtime.text(ts), "hour_flag": flag, "eur_mwh": eur_mwh, "source": source}
            for ts, flag, eur_mwh, source in prices
        ],
        days=[
            {"day": day.isoformat(), "min_eur_mwh": low, "max_eur_mwh": high, "hours": hours}
            for day, low, high, hours in days
        ],
    )


def _columns(fields: dict[str, Any]) -> dict[str, list[Any]]:
    ts, flags, amounts, seen = [], [], [], set()
    for item in validators.items(fields, "prices", most=MOST_PRICES):
        hour = validators.hour(item)
        amounts.append(validators.decimal(item, "eur_mwh", 2, "-99999.99", "99999.99"))
        if hour in seen:
            raise ApiError(422, f"local time {localtime.text(hour[0])} comes twice")
        seen.add(hour)
        ts.append(hour[0])
        flags.append(hour[1])
    return {"ts": ts, "flags": flags, "eur_mwh": amounts}


@blueprint.post("/api/prices")
def post_prices() -> Response:
    auth.backoffice()
    fields = validators.body()
    area = validators.text(fields, "area", 8)
    if not _AREA.fullmatch(area):
        raise ApiError(422, "area must be 1 to 8 letters, digits, _ or -")
    source = validators.text(fields, "source", 20)
    columns = _columns(fields)
    session = db.session()
    inserted, updated = session.execute(
        _UPSERT, {"area": area, "source": source, "now": localtime.now(), **columns}
    ).one()
    session.commit()
    return jsonify(inserted=inserted, updated=updated, unchanged=len(columns["ts"]) - inserted - updated)
