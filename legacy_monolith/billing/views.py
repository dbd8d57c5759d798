"""Billing runs and invoices."""

from __future__ import annotations

import re
from typing import Any

from flask import Blueprint, Response, jsonify, request
from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from legacy_monolith import auth, db, localtime, validators
from legacy_monolith.billing import run as billing
from legacy_monolith.customers.views import found
from legacy_monolith.errors import ApiError

blueprint = Blueprint("billing", __name__)

_MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")

# The join across domains: the tariff's code of today, not of the day of billing.
_SELECT = """
    SELECT i.id, i.number, i.customer_id, i.contract_id, t.code AS tariff_code, i.month, i.net_cents, i.vat_cents,
           i.total_cents, i.created
    FROM invoice i JOIN tariff t ON t.id = i.tariff_id
"""
_ONE = text(_SELECT + "WHERE i.id = :id")
_CHOSEN = (
    "WHERE (CAST(:customer_id AS bigint) IS NULL OR i.customer_id = :customer_id)"
    " AND (CAST(:month AS text) IS NULL OR i.month = :month)"
)
_PAGE = text(_SELECT + _CHOSEN + " AND i.id > :after ORDER BY i.id LIMIT :limit")
_OF_RUN = text(_SELECT + _CHOSEN + " ORDER BY i.contract_id")
_LINES = text(
    "SELECT line_no, kind, description, day_from, day_to, kwh::text, amount::text, amount_cents"
    " FROM invoice_line WHERE invoice_id = :id ORDER BY line_no"
)


def _as_json(row: Any) -> dict[str, Any]:
    return {**row._mapping, "created": localtime.text(row.created)}


def _lines(connection: Connection | Session, invoice_id: int) -> list[dict[str, Any]]:
    return [
        {**row._mapping, "day_from": row.day_from.isoformat(), "day_to": row.day_to.isoformat()}
        for row in connection.execute(_LINES, {"id": invoice_id})
    ]


def _month(fields: dict[str, Any]) -> str:
    month = validators.text(fields, "month", 7)
    if not _MONTH.fullmatch(month) or not 1900 <= int(month[:4]) <= 9000:
        raise ApiError(400, "month must be YYYY-MM")
    if billing.month_bounds(month)[1] > localtime.now().date():
        raise ApiError(422, "month is not over yet")
    return month


@blueprint.post("/api/billing/run")
def run() -> Response:
    """Bills what has not been billed. With `dry_run` everything is computed anew, answered and forgotten."""
    auth.backoffice()
    fields = validators.body()
    month = _month(fields)
    customer_id = validators.identifier(fields, "customer_id", None)
    dry_run = fields.get("dry_run", False)
    if not isinstance(dry_run, bool):
        raise ApiError(400, "dry_run must be true or false")
    session = db.session()
    if customer_id is not None:
        found(customer_id)
    if dry_run:
        billing.forget(session, month, customer_id)
    billed = billing.run(session, month, customer_id)
    if billed.refused and not billed.created and not billed.known:
        raise ApiError(422, billed.refused[0][1])
    invoices = session.execute(_OF_RUN, {"customer_id": customer_id, "month": month}).all()
    answer = {
        "month": month,
        "created": len(billed.created),
        "invoices": [{**_as_json(row), "lines": _lines(session, row.id)} for row in invoices],
        "refused": [{"contract_id": contract, "error": why} for contract, why in billed.refused],
    }
    if dry_run:
        session.rollback()
    else:
        session.commit()
    return jsonify(answer)


@blueprint.get("/api/invoices/<id:invoice_id>")
def get_invoice(invoice_id: int) -> Response:
    caller = auth.customer_or_backoffice()
    row = db.read().execute(_ONE, {"id": invoice_id}).one_or_none()
    if row is None:
        raise ApiError(404, "invoice not found")
    auth.own(caller, row.customer_id)
    return jsonify(**_as_json(row), lines=_lines(db.read(), invoice_id))


@blueprint.get("/api/invoices")
def list_invoices() -> Response:
    caller = auth.customer_or_backoffice()
    limit, after = validators.query_page()
    month = request.args.get("month")
    if month is not None and not _MONTH.fullmatch(month):
        raise ApiError(400, "month must be YYYY-MM")
    customer_id = validators.query_id("customer_id", caller.id if caller.kind == auth.CUSTOMER else None)
    if customer_id is not None:
        auth.own(caller, customer_id)
    wanted = {"customer_id": customer_id, "month": month, "after": after, "limit": limit + 1}
    rows = db.read().execute(_PAGE, wanted).all()
    return jsonify(
        invoices=[_as_json(row) for row in rows[:limit]], next=rows[limit - 1].id if len(rows) > limit else None
    )
