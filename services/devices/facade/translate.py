"""Our values in the monolith's words. Pure."""

from __future__ import annotations

from typing import Any

from services.chassis.localtime import local_text
from services.devices.domain.devices import Ack, Command, Device, Schedule
from services.devices.facade import slots
from services.devices.facade.codes import ACK_STATES, DEVICE_STATES, MODES


def device(device: Device) -> dict[str, Any]:
    return {
        "id": device.id,
        "serial": device.serial,
        "customer_id": device.customer_id,
        "model": device.model,
        "capacity_wh": device.capacity_wh,
        "max_power_w": device.max_power_w,
        "status": DEVICE_STATES.letter(device.state),
        "registered": local_text(device.registered_at),
    }


def schedule(device_id: int, schedule: Schedule) -> dict[str, Any]:
    return {
        "device_id": device_id,
        "version": schedule.version,
        "slots": slots.text(schedule.slots),
        "updated": None if schedule.updated_at is None else local_text(schedule.updated_at),
    }


def command(command: Command) -> dict[str, Any]:
    return {
        "ref": command.ref,
        "mode": MODES.letter(command.mode),
        "power_w": command.power_w,
        "issued": local_text(command.issued_at),
        "expires": local_text(command.expires_at),
    }


def ack(ack: Ack) -> dict[str, Any]:
    return {
        "id": ack.id,
        "device_id": ack.device_id,
        "ref": ack.ref,
        "state": ACK_STATES.letter(ack.state),
        "note": ack.note,
        "observed": local_text(ack.observed_at),
        "received": local_text(ack.received_at),
    }
