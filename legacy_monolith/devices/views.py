"""Home batteries, for the back office and for the devices themselves."""

from __future__ import annotations

import secrets
from typing import Any

from flask import Blueprint, Response, jsonify
from sqlalchemy import text

from legacy_monolith import auth, db, localtime, validators
from legacy_monolith.devices import slots as slot_text
from legacy_monolith.errors import ApiError

blueprint = Blueprint("devices", __name__)

_COLUMNS = "id, serial, customer_id, model, capacity_wh, max_power_w, status, registered"
_INSERT = text(
    "INSERT INTO device (serial, customer_id, model, capacity_wh, max_power_w, status, token_sha1, registered)"
    " VALUES (:serial, :customer_id, :model, :capacity_wh, :max_power_w, 'N', :token_sha1, :registered)"
    f" ON CONFLICT (serial) DO NOTHING RETURNING {_COLUMNS}"
)
_BY_ID = text(f"SELECT {_COLUMNS} FROM device WHERE id = :id")
_PAGE = text(f"SELECT {_COLUMNS} FROM device WHERE id > :after ORDER BY id LIMIT :limit")
_SCHEDULE = text("SELECT version, slots, updated FROM schedule WHERE device_id = :id")
_COMMANDS = text(
    "SELECT ref, mode, power_w, issued, expires FROM battery_command"
    " WHERE device_id = :id AND expires > :now AND status <> 'X' ORDER BY id LIMIT 100"
)
_PUT_SCHEDULE = text(
    "INSERT INTO schedule AS s (device_id, version, slots, updated) VALUES (:id, 1, :slots, :now)"
    " ON CONFLICT (device_id) DO UPDATE"
    " SET version = s.version + 1, slots = excluded.slots, updated = excluded.updated WHERE s.slots <> excluded.slots"
)


def found(device_id: int) -> Any:
    row = db.session().execute(_BY_ID, {"id": device_id}).one_or_none()
    if row is None:
        raise ApiError(404, "device not found")
    return row


def _as_json(row: Any) -> dict[str, Any]:
    return {**row._mapping, "registered": localtime.text(row.registered)}


def _schedule(device_id: int) -> dict[str, Any]:
    row = db.session().execute(_SCHEDULE, {"id": device_id}).one_or_none()
    if row is None:
        return {"device_id": device_id, "version": 0, "slots": "", "updated": None}
    return {"device_id": device_id, "version": row.version, "slots": row.slots, "updated": localtime.text(row.updated)}


@blueprint.post("/api/devices")
def register() -> tuple[Response, int]:
    auth.backoffice()
    fields = validators.body()
    token = secrets.token_urlsafe(24)
    values = {
        "serial": validators.text(fields, "serial", 40),
        "customer_id": validators.identifier(fields, "customer_id"),
        "model": validators.text(fields, "model", 40),
        "capacity_wh": validators.integer(fields, "capacity_wh", 1, 10_000_000),
        "max_power_w": validators.integer(fields, "max_power_w", 1, 1_000_000),
        "token_sha1": auth.token_sha1(token),
        "registered": localtime.now(),
    }
    session = db.session()
    if not session.execute(text("SELECT 1 FROM customer WHERE id = :id"), {"id": values["customer_id"]}).scalar():
        raise ApiError(404, "customer not found")
    row = session.execute(_INSERT, values).one_or_none()
    if row is None:
        raise ApiError(409, "serial exists")
    session.commit()
    return jsonify({**_as_json(row), "token": token}), 201


@blueprint.get("/api/devices")
def list_devices() -> Response:
    auth.backoffice()
    limit, after = validators.query_page()
    rows = db.read().execute(_PAGE, {"after": after, "limit": limit + 1}).all()
    return jsonify(
        devices=[_as_json(row) for row in rows[:limit]], next=rows[limit - 1].id if len(rows) > limit else None
    )


@blueprint.get("/api/devices/<id:device_id>")
def get_device(device_id: int) -> Response:
    auth.backoffice()
    return jsonify(_as_json(found(device_id)))


@blueprint.get("/get-schedule/<id:device_id>")
def get_schedule(device_id: int) -> Response:
    """Polled by every device; its path is older than /api."""
    if auth.device(device_id).kind == auth.BACKOFFICE:
        found(device_id)
    commands = db.session().execute(_COMMANDS, {"id": device_id, "now": localtime.now()})
    return jsonify(
        **_schedule(device_id),
        commands=[
            {
                "ref": row.ref,
                "mode": row.mode,
                "power_w": row.power_w,
                "issued": localtime.text(row.issued),
                "expires": localtime.text(row.expires),
            }
            for row in commands
        ],
    )


@blueprint.put("/api/devices/<id:device_id>/schedule")
def put_schedule(device_id: int) -> Response:
    """Equal slots put again keep their version."""
    auth.backoffice()
    slots = validators.text(validators.body(), "slots", 4000, shortest=0)
    if problem := slot_text.problem(slots, found(device_id).max_power_w):
        raise ApiError(422, problem)
    db.session().execute(_PUT_SCHEDULE, {"id": device_id, "slots": slots, "now": localtime.now()})
    schedule = _schedule(device_id)
    db.session().commit()
    return jsonify(schedule)
