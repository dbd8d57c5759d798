"""A document as it is sent. Pure, and quick: it is done for thousands at once."""

from __future__ import annotations

import msgspec

from services.devices.domain.documents import Document
from services.devices.v2 import schemas

EPOCH = "Banyan-Assignment-Epoch"


def shown(document: Document) -> schemas.Schedule:
    return schemas.Schedule(
        document.device_id,
        document.version,
        document.epoch,
        msgspec.convert(document.slots, list[schemas.Slot]),
        schemas.Fallback(
            document.fallback_version,
            document.fallback_after_s,
            msgspec.convert(document.fallback, list[schemas.Slot]),
        ),
        [
            schemas.Command(
                c.ref,
                c.correlation_id,
                document.epoch if c.epoch is None else c.epoch,
                c.mode,  # type: ignore[arg-type]
                c.power_w,
                c.issued_at,
                c.expires_at,
                c.supersedes,
            )
            for c in document.commands
        ],
    )


def encoded(document: Document) -> bytes:
    return msgspec.json.encode(shown(document))


def headers(document: Document) -> dict[str, str]:
    return {"ETag": document.etag, EPOCH: str(document.epoch)}
