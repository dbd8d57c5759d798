"""Quotes: an offer for an amount of energy at a tariff. Repeating a request with its key gives the first answer."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from flask import Blueprint, Response, jsonify, request
from sqlalchemy import text
from sqlalchemy.orm import Session

from legacy_monolith import auth, db, localtime, validators
from legacy_monolith.errors import ApiError
from legacy_monolith.pricing import amount

blueprint = Blueprint("quotes", __name__)

#: Dynamic tariffs are sold in one market area.
AREA = "NL"

_KEY = re.compile(r"[\x21-\x7e]{1,64}")
_COLUMNS = "id, client_ref, customer_id, tariff_code, kwh, amount_cents, status, created"
_BY_REF = text(f"SELECT {_COLUMNS} FROM quote WHERE client_ref = :client_ref")
_BY_ID = text(f"SELECT {_COLUMNS} FROM quote WHERE id = :id")
_PAGE = text(f"SELECT {_COLUMNS} FROM quote WHERE id > :after ORDER BY id LIMIT :limit")
_PAGE_OF_CUSTOMER = text(
    f"SELECT {_COLUMNS} FROM quote WHERE customer_id = :customer_id AND id > :after ORDER BY id LIMIT :limit"
)
_INSERT = text(
    "INSERT INTO quote (client_ref, customer_id, tariff_code, kwh, amount_cents, status, created)"
    " VALUES (:client_ref, :customer_id, :tariff_code, :kwh, :amount_cents, 'O', :created)"
    f" ON CONFLICT (client_ref) DO NOTHING RETURNING {_COLUMNS}"
)
_TERMS = text("""
    SELECT t.id, t.kind, t.status, t.vat_pct, EXISTS (SELECT 1 FROM customer WHERE id = :customer_id) AS customer_known
    FROM tariff t WHERE t.code = :code
""")
_NEWEST_DAY = text("""
    SELECT coalesce(sum(p.eur_mwh), 0), count(*)
    FROM (SELECT max(day) AS day FROM price_daily WHERE area = :area) d
    JOIN price p ON p.area = :area AND p.ts >= d.day AND p.ts < d.day + 1
""")


def _as_json(row: Any) -> dict[str, Any]:
    return {
        "id": row.id,
        "client_ref": row.client_ref,
        "customer_id": row.customer_id,
        "tariff_code": row.tariff_code,
        "kwh": str(row.kwh),
        "amount_cents": row.amount_cents,
        "status": row.status,
        "created": localtime.text(row.created),
    }


def _amount_cents(session: Session, code: str, customer_id: int, kwh: Decimal) -> int:
    terms = session.execute(_TERMS, {"code": code, "customer_id": customer_id}).one_or_none()
    if terms is None:
        raise ApiError(404, "tariff not found")
    if not terms.customer_known:
        raise ApiError(404, "customer not found")
    if terms.status != "A":
        raise ApiError(422, "tariff is not active")
    if terms.kind == "F":
        rates = session.execute(
            text("SELECT hour_from, hour_to, price_kwh FROM tariff_rate WHERE tariff_id = :id"), {"id": terms.id}
        ).all()
        if not rates:
            raise ApiError(422, "tariff has no rates")
        cents = amount.fixed_cents(kwh, [tuple(rate) for rate in rates], terms.vat_pct)
    else:
        total, hours = session.execute(_NEWEST_DAY, {"area": AREA}).one()
        if not hours:
            raise ApiError(422, "there are no prices yet")
        cents = amount.dynamic_cents(kwh, total, hours, terms.vat_pct)
    if abs(cents) > validators.INT_MAX:
        raise ApiError(422, "the amount is too large")
    return cents


def _repeated(row: Any, customer_id: int, code: str, kwh: Decimal) -> Response:
    if (row.customer_id, row.tariff_code, row.kwh) != (customer_id, code, kwh):
        raise ApiError(409, "idempotency key was used for another quote")
    return jsonify(_as_json(row))


@blueprint.post("/api/quotes")
def create_quote() -> Response | tuple[Response, int]:
    caller = auth.customer_or_backoffice()
    key = request.headers.get("Idempotency-Key")
    if key is not None and not _KEY.fullmatch(key):
        raise ApiError(400, "Idempotency-Key must be 1 to 64 visible ASCII characters")
    fields = validators.body()
    code = validators.text(fields, "tariff_code", 20)
    kwh = validators.decimal(fields, "kwh", 3, "0.001", "100000000")
    if caller.kind == auth.CUSTOMER:
        customer_id = validators.identifier(fields, "customer_id", caller.id)
        auth.own(caller, customer_id)
    else:
        customer_id = validators.identifier(fields, "customer_id")
    session = db.session()
    if key is not None and (first := session.execute(_BY_REF, {"client_ref": key}).one_or_none()):
        return _repeated(first, customer_id, code, kwh)
    row = {
        "client_ref": key,
        "customer_id": customer_id,
        "tariff_code": code,
        "kwh": kwh,
        "amount_cents": _amount_cents(session, code, customer_id, kwh),
        "created": localtime.now(),
    }
    made = session.execute(_INSERT, row).one_or_none()
    if made is None:
        # Somebody used the key since we looked: the insert waited for their commit, so now it can be read.
        return _repeated(session.execute(_BY_REF, {"client_ref": key}).one(), customer_id, code, kwh)
    session.commit()
    return jsonify(_as_json(made)), 201


@blueprint.get("/api/quotes/<id:quote_id>")
def get_quote(quote_id: int) -> Response:
    caller = auth.customer_or_backoffice()
    row = db.read().execute(_BY_ID, {"id": quote_id}).one_or_none()
    if row is None:
        raise ApiError(404, "quote not found")
    auth.own(caller, row.customer_id)
    return jsonify(_as_json(row))


@blueprint.get("/api/quotes")
def list_quotes() -> Response:
    caller = auth.customer_or_backoffice()
    limit, after = validators.query_page()
    wanted = {"after": after, "limit": limit + 1}
    if caller.kind == auth.CUSTOMER:
        rows = db.read().execute(_PAGE_OF_CUSTOMER, {**wanted, "customer_id": caller.id}).all()
    else:
        rows = db.read().execute(_PAGE, wanted).all()
    return jsonify(
        quotes=[_as_json(row) for row in rows[:limit]], next=rows[limit - 1].id if len(rows) > limit else None
    )
