"""Session login: Flask's signed cookie says which customer this is."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, session

from legacy_monolith import auth, db, validators
from legacy_monolith.customers import passwords
from legacy_monolith.customers.models import Customer
from legacy_monolith.errors import ApiError

blueprint = Blueprint("login", __name__)


@blueprint.post("/login")
def login() -> Response:
    fields = validators.body()
    email = validators.text(fields, "email", 200)
    password = validators.text(fields, "password", 100)
    customer = db.session().query(Customer).filter_by(email=email, status="A").one_or_none()
    if not passwords.matches(customer.password_hash if customer else None, password):
        raise ApiError(401, "invalid email or password")
    session.clear()
    session["customer_id"] = customer.id
    return jsonify(customer_id=customer.id)


@blueprint.post("/logout")
def logout() -> Response:
    session.clear()
    return jsonify(customer_id=None)


@blueprint.get("/session")
def who() -> Response:
    """Whose session this is, for those who cannot read the cookie."""
    return jsonify(customer_id=auth.require(auth.CUSTOMER).id)
