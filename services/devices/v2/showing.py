"""A document as it is sent. Pure, and quick: it is done for thousands at once."""

from __future__ import annotations

import msgspec

from services.devices.domain.devices import Command
from services.devices.domain.documents import Document
from services.devices.v2 import schemas

EPOCH = "Banyan-Assignment-Epoch"


class _Fallback(msgspec.Struct):
    version: int
    after_s: int
    slots: msgspec.Raw


class _Shown(msgspec.Struct):
    """`schemas.Schedule`, with slots that are JSON already."""

    device_id: int
    version: int
    assignment_epoch: int
    slots: msgspec.Raw
    fallback: _Fallback
    commands: list[schemas.Command]


def encoded(document: Document) -> bytes:
    """JSON of `schemas.Schedule`."""
    fallback = _Fallback(document.fallback_version, document.fallback_after_s, msgspec.Raw(document.fallback))
    commands = [_command(command, document.epoch) for command in document.commands]
    return msgspec.json.encode(
        _Shown(document.device_id, document.version, document.epoch, msgspec.Raw(document.slots), fallback, commands)
    )


def _command(command: Command, epoch: int) -> schemas.Command:
    return schemas.Command(
        command.ref,
        command.correlation_id,
        epoch if command.epoch is None else command.epoch,
        command.mode,  # type: ignore[arg-type]
        command.power_w,
        command.issued_at,
        command.expires_at,
        command.supersedes,
    )


def headers(document: Document) -> dict[str, str]:
    return {"ETag": document.etag, EPOCH: str(document.epoch)}
