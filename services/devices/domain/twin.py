"""What a device should be against what it says it is. Pure."""

from __future__ import annotations

from typing import Any, Protocol


class Versions(Protocol):
    """Both sides have these; a version that nobody asks for is None."""

    @property
    def schedule_version(self) -> int: ...
    @property
    def fallback_version(self) -> int: ...
    @property
    def agent_version(self) -> str | None: ...


NAMES = ("schedule_version", "fallback_version", "agent_version")


def delta(desired: Versions, reported: Versions | None) -> dict[str, Any]:
    """What is desired and not reported; all of it before the first report."""
    wanted = {name: getattr(desired, name) for name in NAMES if getattr(desired, name) is not None}
    return {name: value for name, value in wanted.items() if reported is None or getattr(reported, name) != value}
