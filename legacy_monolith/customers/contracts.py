"""Contracts: a customer on a tariff for some days."""

from __future__ import annotations

import re
from typing import Any

from flask import Blueprint, Response, jsonify
from sqlalchemy import text

from legacy_monolith import auth, db, localtime, validators
from legacy_monolith.customers.models import Contract
from legacy_monolith.customers.views import found
from legacy_monolith.errors import ApiError

blueprint = Blueprint("contracts", __name__)

_AREA = re.compile(r"[A-Za-z0-9_-]{1,8}")

# The join across domains: contracts know tariffs by id, clients know them by code.
_SELECT = """
    SELECT c.id, c.customer_id, t.code AS tariff_code, c.area, c.start_day, c.end_day, c.status, c.created
    FROM contract c JOIN tariff t ON t.id = c.tariff_id
"""
_PAGE = text(
    _SELECT + "WHERE (CAST(:customer_id AS bigint) IS NULL OR c.customer_id = :customer_id) AND c.id > :after"
    " ORDER BY c.id LIMIT :limit"
)
_ONE = text(_SELECT + "WHERE c.id = :id")


def _as_json(row: Any) -> dict[str, Any]:
    return {
        "id": row.id,
        "customer_id": row.customer_id,
        "tariff_code": row.tariff_code,
        "area": row.area,
        "start_day": row.start_day.isoformat(),
        "end_day": row.end_day.isoformat() if row.end_day else None,
        "status": row.status,
        "created": localtime.text(row.created),
    }


@blueprint.get("/api/contracts")
def list_contracts() -> Response:
    auth.backoffice()
    limit, after = validators.query_page()
    wanted = {"customer_id": validators.query_id("customer_id"), "after": after, "limit": limit + 1}
    rows = db.read().execute(_PAGE, wanted).all()
    return jsonify(
        contracts=[_as_json(row) for row in rows[:limit]], next=rows[limit - 1].id if len(rows) > limit else None
    )


@blueprint.post("/api/contracts")
def create_contract() -> tuple[Response, int]:
    auth.backoffice()
    fields = validators.body()
    customer_id = validators.identifier(fields, "customer_id")
    code = validators.text(fields, "tariff_code", 20)
    area = validators.text(fields, "area", 8, "NL")
    start = validators.day(fields, "start_day")
    end = validators.day(fields, "end_day", None)
    if not _AREA.fullmatch(area):
        raise ApiError(422, "area must be 1 to 8 letters, digits, _ or -")
    if end is not None and end <= start:
        raise ApiError(422, "end_day must be after start_day")
    session = db.session()
    found(customer_id)
    tariff_id = session.execute(text("SELECT id FROM tariff WHERE code = :code"), {"code": code}).scalar()
    if tariff_id is None:
        raise ApiError(404, "tariff not found")
    contract = Contract(
        customer_id=customer_id,
        tariff_id=tariff_id,
        area=area,
        start_day=start,
        end_day=end,
        status="A",
        created=localtime.now(),
    )
    session.add(contract)
    session.flush()
    made = session.execute(_ONE, {"id": contract.id}).one()
    session.commit()
    return jsonify(_as_json(made)), 201


@blueprint.get("/api/contracts/<id:contract_id>")
def get_contract(contract_id: int) -> Response:
    auth.backoffice()
    row = db.read().execute(_ONE, {"id": contract_id}).one_or_none()
    if row is None:
        raise ApiError(404, "contract not found")
    return jsonify(_as_json(row))
