"""Notices: sent inside the request, or kept for after the customer's quiet hours."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, current_app, jsonify
from sqlalchemy import text

from legacy_monolith import auth, db, localtime, validators
from legacy_monolith.customers.views import email
from legacy_monolith.errors import ApiError
from legacy_monolith.notifications import mailer, preferences

blueprint = Blueprint("notifications", __name__)

_COLUMNS = "id, customer_id, channel, recipient, subject, body, status, error, created, sent"
_INSERT = text(
    "INSERT INTO notification (customer_id, channel, recipient, subject, body, status, created)"
    " VALUES (:customer_id, :channel, :recipient, :subject, :body, 'Q', :created) RETURNING id"
)
_DONE = text(
    f"UPDATE notification SET status = :status, error = :error, sent = :sent WHERE id = :id RETURNING {_COLUMNS}"
)
_ONE = text(f"SELECT {_COLUMNS} FROM notification WHERE id = :id")
_PAGE = text(
    f"SELECT {_COLUMNS} FROM notification"
    " WHERE (CAST(:customer_id AS bigint) IS NULL OR customer_id = :customer_id) AND id > :after"
    " ORDER BY id LIMIT :limit"
)


def _as_json(row: Any) -> dict[str, Any]:
    return {
        **row._mapping,
        "created": localtime.text(row.created),
        "sent": localtime.text(row.sent) if row.sent else None,
    }


@blueprint.post("/api/notifications")
def create_notification() -> tuple[Response, int]:
    auth.backoffice()
    fields = validators.body()
    values = {
        "customer_id": validators.identifier(fields, "customer_id"),
        "channel": validators.choice(fields, "channel", ("E", "S", "P")),
        "subject": validators.text(fields, "subject", 200),
        "body": validators.text(fields, "body", 10_000),
        "created": localtime.now(),
    }
    to = validators.text(fields, "to", 200, None)
    if to is not None and values["channel"] == "E":
        email(fields, "to")
    session = db.session()
    address, wanted = preferences.of_customer(session, values["customer_id"])
    if not wanted.allows(values["channel"]):
        raise ApiError(422, "customer has switched off this channel")
    values["recipient"] = to or (address if values["channel"] == "E" else None)
    if values["recipient"] is None:
        raise ApiError(422, "to is needed for this channel")
    # The row comes first: if it may not be written here, nothing is sent from here.
    notification_id = session.execute(_INSERT, values).scalar_one()
    if wanted.is_quiet(values["created"]):
        row = session.execute(_ONE, {"id": notification_id}).one()
    else:
        smtp_url = current_app.extensions["settings"].smtp_url
        error = mailer.deliver(smtp_url, values["channel"], values["recipient"], values["subject"], values["body"])
        done = {"id": notification_id, "status": "F" if error else "S", "error": error}
        row = session.execute(_DONE, {**done, "sent": None if error else localtime.now()}).one()
    session.commit()
    return jsonify(_as_json(row)), 201


@blueprint.get("/api/notifications")
def list_notifications() -> Response:
    caller = auth.customer_or_backoffice()
    limit, after = validators.query_page()
    customer_id = validators.query_id("customer_id", caller.id if caller.kind == auth.CUSTOMER else None)
    if customer_id is not None:
        auth.own(caller, customer_id)
    rows = db.read().execute(_PAGE, {"customer_id": customer_id, "after": after, "limit": limit + 1}).all()
    return jsonify(
        notifications=[_as_json(row) for row in rows[:limit]], next=rows[limit - 1].id if len(rows) > limit else None
    )
