"""What a customer wants to receive, and when not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import Blueprint, Response, jsonify
from sqlalchemy import text
from sqlalchemy.orm import Session

from legacy_monolith import auth, db, localtime, validators
from legacy_monolith.errors import ApiError

blueprint = Blueprint("preferences", __name__)

_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
_SELECT = text("""
    SELECT c.email AS address, p.customer_id, p.email, p.sms, p.push, p.quiet_from, p.quiet_to
    FROM customer c LEFT JOIN notification_pref p ON p.customer_id = c.id WHERE c.id = :id
""")
_PUT = text("""
    INSERT INTO notification_pref AS p (customer_id, email, sms, push, quiet_from, quiet_to, updated)
    VALUES (:id, :email, :sms, :push, :quiet_from, :quiet_to, :now)
    ON CONFLICT (customer_id) DO UPDATE
        SET email = excluded.email, sms = excluded.sms, push = excluded.push,
            quiet_from = excluded.quiet_from, quiet_to = excluded.quiet_to, updated = excluded.updated
        WHERE (p.email, p.sms, p.push, p.quiet_from, p.quiet_to)
            IS DISTINCT FROM (excluded.email, excluded.sms, excluded.push, excluded.quiet_from, excluded.quiet_to)
""")


@dataclass(frozen=True, slots=True)
class Preferences:
    """Letters Y and N; quiet hours as HH:MM local, both or neither, and over midnight when `from` is the later one."""

    email: str = "Y"
    sms: str = "N"
    push: str = "N"
    quiet_from: str | None = None
    quiet_to: str | None = None

    def allows(self, channel: str) -> bool:
        return {"E": self.email, "S": self.sms, "P": self.push}[channel] == "Y"

    def is_quiet(self, at: datetime) -> bool:
        if self.quiet_from is None or self.quiet_to is None:
            return False
        time = at.strftime("%H:%M")
        if self.quiet_from < self.quiet_to:
            return self.quiet_from <= time < self.quiet_to
        return time >= self.quiet_from or time < self.quiet_to

    def as_json(self, customer_id: int) -> dict[str, Any]:
        return {
            "customer_id": customer_id,
            "email": self.email,
            "sms": self.sms,
            "push": self.push,
            "quiet_from": self.quiet_from,
            "quiet_to": self.quiet_to,
        }


def of_customer(session: Session, customer_id: int) -> tuple[str, Preferences]:
    """The customer's e-mail address and preferences."""
    row = session.execute(_SELECT, {"id": customer_id}).one_or_none()
    if row is None:
        raise ApiError(404, "customer not found")
    if row.customer_id is None:
        return row.address, Preferences()
    return row.address, Preferences(row.email, row.sms, row.push, row.quiet_from, row.quiet_to)


@blueprint.get("/api/customers/<id:customer_id>/preferences")
def get_preferences(customer_id: int) -> Response:
    auth.own(auth.customer_or_backoffice(), customer_id)
    _, wanted = of_customer(db.session(), customer_id)
    return jsonify(wanted.as_json(customer_id))


@blueprint.put("/api/customers/<id:customer_id>/preferences")
def put_preferences(customer_id: int) -> Response:
    auth.own(auth.customer_or_backoffice(), customer_id)
    fields = validators.body()
    wanted = Preferences(
        email=validators.choice(fields, "email", ("Y", "N")),
        sms=validators.choice(fields, "sms", ("Y", "N")),
        push=validators.choice(fields, "push", ("Y", "N")),
        quiet_from=_time(fields, "quiet_from"),
        quiet_to=_time(fields, "quiet_to"),
    )
    if (wanted.quiet_from is None) != (wanted.quiet_to is None) or (
        wanted.quiet_from is not None and wanted.quiet_from == wanted.quiet_to
    ):
        raise ApiError(422, "quiet_from and quiet_to must be two different times, or both null")
    session = db.session()
    of_customer(session, customer_id)
    values = wanted.as_json(customer_id)
    del values["customer_id"]
    session.execute(_PUT, {"id": customer_id, "now": localtime.now(), **values})
    session.commit()
    return jsonify(wanted.as_json(customer_id))


def _time(fields: dict[str, Any], name: str) -> str | None:
    value = validators.text(fields, name, 5, None)
    if value is not None and not _TIME.fullmatch(value):
        raise ApiError(422, f"{name} must be HH:MM")
    return value
