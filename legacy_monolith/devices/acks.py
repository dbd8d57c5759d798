"""What devices report about schedules and commands. The same report twice is one row."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify
from sqlalchemy import text

from legacy_monolith import auth, db, localtime, validators
from legacy_monolith.devices.views import found
from legacy_monolith.errors import ApiError

blueprint = Blueprint("acks", __name__)

_COLUMNS = "id, device_id, ref, state, note, observed, received"
_INSERT = text(
    "INSERT INTO ack (device_id, ref, state, note, observed, received)"
    " VALUES (:device_id, :ref, :state, :note, :observed, :received)"
    f" ON CONFLICT (device_id, ref, state) DO NOTHING RETURNING {_COLUMNS}"
)
_REPEATED = text(f"SELECT {_COLUMNS} FROM ack WHERE device_id = :device_id AND ref = :ref AND state = :state")
_PAGE = text(f"SELECT {_COLUMNS} FROM ack WHERE device_id = :id AND id > :after ORDER BY id LIMIT :limit")
_ACTIVATE = text("UPDATE device SET status = 'A' WHERE id = :id AND status = 'N'")
_COMMAND = text(
    "UPDATE battery_command SET status = :status WHERE device_id = :id AND ref = :ref AND status NOT IN ('X', :status)"
)


def _as_json(row: Any) -> dict[str, Any]:
    return {
        **row._mapping,
        "observed": localtime.text(row.observed),
        "received": localtime.text(row.received),
    }


@blueprint.post("/api/devices/<id:device_id>/acks")
def post_ack(device_id: int) -> tuple[Response, int]:
    if auth.require(auth.DEVICE).id != device_id:
        raise ApiError(403, "forbidden")
    fields = validators.body()
    values = {
        "device_id": device_id,
        "ref": validators.text(fields, "ref", 64),
        "state": validators.choice(fields, "state", ("D", "S", "F", "X")),
        "observed": validators.timestamp(fields, "observed"),
        "note": validators.text(fields, "note", 200, "", shortest=0),
        "received": localtime.now(),
    }
    session = db.session()
    row = session.execute(_INSERT, values).one_or_none()
    if row is None:
        return jsonify(_as_json(session.execute(_REPEATED, values).one())), 200
    session.execute(_ACTIVATE, {"id": device_id})
    status = "X" if values["state"] == "X" else "S"
    session.execute(_COMMAND, {"id": device_id, "ref": values["ref"], "status": status})
    session.commit()
    return jsonify(_as_json(row)), 201


@blueprint.get("/api/devices/<id:device_id>/acks")
def list_acks(device_id: int) -> Response:
    if auth.device(device_id).kind == auth.BACKOFFICE:
        found(device_id)
    limit, after = validators.query_page()
    rows = db.session().execute(_PAGE, {"id": device_id, "after": after, "limit": limit + 1}).all()
    return jsonify(acks=[_as_json(row) for row in rows[:limit]], next=rows[limit - 1].id if len(rows) > limit else None)
