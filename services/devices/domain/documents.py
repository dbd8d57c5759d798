"""A device's document: its schedule, its fallback and its open commands, and the tag by which it is known. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from services.devices.domain.devices import Command

#: How long without word from the service a device follows its schedule before it falls back. Seconds: a week.
FALLBACK_AFTER_S = 7 * 86_400


@dataclass(frozen=True, slots=True)
class Document:
    """Slots as they are stored and sent: JSON. `unsent`: references of commands that no device was given yet."""

    device_id: int
    version: int = 0
    slots: bytes = b"[]"
    fallback_version: int = 0
    fallback_after_s: int = FALLBACK_AFTER_S
    fallback: bytes = b"[]"
    commands: tuple[Command, ...] = ()
    unsent: tuple[str, ...] = ()
    epoch: int = 0

    @property
    def etag(self) -> str:
        """The schedule's version while there is nothing else to know, then a digest of the rest with it."""
        if not (self.fallback_version or self.commands or self.epoch):
            return f'"{self.version}"'
        rest = (self.epoch, self.fallback_version, *(command.ref for command in self.commands))
        digest = hashlib.blake2b(repr(rest).encode(), digest_size=6).hexdigest()
        return f'"{self.version}-{digest}"'


def tags(header: str) -> frozenset[str]:
    """The entity tags of an If-None-Match, compared weakly (RFC 9110 §13.1.2)."""
    return frozenset(tag.strip().removeprefix("W/") for tag in header.split(","))
