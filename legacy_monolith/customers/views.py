"""Customers, by and for the back office."""

from __future__ import annotations

import re
from typing import Any

from flask import Blueprint, Response, jsonify, request
from sqlalchemy.exc import IntegrityError

from legacy_monolith import auth, db, localtime, validators
from legacy_monolith.customers import passwords
from legacy_monolith.customers.models import Customer
from legacy_monolith.errors import ApiError
from legacy_monolith.guard import sqlstate

blueprint = Blueprint("customers", __name__)

_EMAIL = re.compile(r"[^\s@<>,;:\"]+@[^\s@<>,;:\"]+\.[^\s@<>,;:\".]+")
_UNIQUE_VIOLATION = "23505"


def email(fields: dict[str, Any], name: str) -> str:
    value = validators.text(fields, name, 200)
    if not _EMAIL.fullmatch(value):
        raise ApiError(422, f"{name} must be an e-mail address")
    return value


def found(customer_id: int) -> Customer:
    customer = db.session().get(Customer, customer_id)
    if customer is None:
        raise ApiError(404, "customer not found")
    return customer


def _as_json(customer: Customer) -> dict[str, Any]:
    return {
        "id": customer.id,
        "email": customer.email,
        "name": customer.name,
        "phone": customer.phone,
        "city": customer.city,
        "status": customer.status,
        "created": localtime.text(customer.created),
        "updated": localtime.text(customer.updated),
    }


def _flush() -> None:
    try:
        db.session().flush()
    except IntegrityError as error:
        if sqlstate(error) == _UNIQUE_VIOLATION:
            raise ApiError(409, "email exists") from None
        raise ApiError(409, "customer has contracts, devices, quotes or notifications") from None


@blueprint.get("/api/customers")
def list_customers() -> Response:
    auth.backoffice()
    limit, after = validators.query_page()
    query = db.session().query(Customer).filter(Customer.id > after)
    if wanted := request.args.get("email"):
        query = query.filter_by(email=wanted.replace("\x00", ""))
    rows = query.order_by(Customer.id).limit(limit + 1).all()
    return jsonify(
        customers=[_as_json(row) for row in rows[:limit]], next=rows[limit - 1].id if len(rows) > limit else None
    )


@blueprint.post("/api/customers")
def create_customer() -> tuple[Response, int]:
    auth.backoffice()
    fields = validators.body()
    now = localtime.now()
    customer = Customer(
        email=email(fields, "email"),
        name=validators.text(fields, "name", 100),
        phone=validators.text(fields, "phone", 30, None),
        city=validators.text(fields, "city", 60, None),
        status="A",
        password_hash=passwords.hashed(validators.text(fields, "password", 100, shortest=8)),
        created=now,
        updated=now,
    )
    db.session().add(customer)
    _flush()
    db.session().commit()
    return jsonify(_as_json(customer)), 201


@blueprint.get("/api/customers/<id:customer_id>")
def get_customer(customer_id: int) -> Response:
    auth.backoffice()
    return jsonify(_as_json(found(customer_id)))


@blueprint.put("/api/customers/<id:customer_id>")
def put_customer(customer_id: int) -> Response:
    """Changes the fields that are given; the others stay."""
    auth.backoffice()
    fields = validators.body()
    customer = found(customer_id)
    changes = {
        "email": email(fields, "email") if "email" in fields else customer.email,
        "name": validators.text(fields, "name", 100, customer.name),
        "phone": validators.text(fields, "phone", 30, None) if "phone" in fields else customer.phone,
        "city": validators.text(fields, "city", 60, None) if "city" in fields else customer.city,
        "status": validators.choice(fields, "status", ("A", "I"), customer.status),
    }
    if any(getattr(customer, name) != value for name, value in changes.items()):
        for name, value in changes.items():
            setattr(customer, name, value)
        customer.updated = localtime.now()
        _flush()
        db.session().commit()
    return jsonify(_as_json(customer))


@blueprint.delete("/api/customers/<id:customer_id>")
def delete_customer(customer_id: int) -> tuple[str, int]:
    auth.backoffice()
    db.session().delete(found(customer_id))
    _flush()
    db.session().commit()
    return "", 204
