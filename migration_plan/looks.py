"""Looking at many servers of which some are away: what could be seen, what is wrong, and who did not answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

from cdc.errors import first_line
from gateway.errors import AdminError, AdminUnreachable
from migration_plan.errors import NotConfigured, PlanError, Unreachable

T = TypeVar("T")
D = TypeVar("D")


class Away(msgspec.Struct, frozen=True):
    """A server that did not answer. `at`: its address; `parts`: what of the migration is there."""

    at: str
    why: str
    parts: list[str]

    def __str__(self) -> str:
        return f"{self.at} does not answer ({self.why}): {', '.join(self.parts)}"


class Looks:
    """Keeps who was away, each server once, however often it was asked for; `unset` what no variable leads to."""

    def __init__(self, admin_url: str) -> None:
        self.answered = False
        self.unset: list[str] = []
        self._admin_url = admin_url
        self._away: dict[str, Away] = {}

    @property
    def away(self) -> list[Away]:
        return list(self._away.values())

    def at(self, look: Callable[[], T], problems: list[str], missing: D | None = None) -> T | D | None:
        """What `look` finds; `missing` when its server cannot be asked. What else is wrong is added to `problems`."""
        try:
            found = look()
        except Unreachable as error:
            return self._miss(error.at, error.why, error.what, missing)
        except AdminUnreachable as error:
            return self._miss(self._admin_url, _plain(error), "the gateway's admin API", missing)
        except NotConfigured as error:
            if str(error) not in self.unset:
                self.unset.append(str(error))
            return missing
        except (PlanError, AdminError) as error:
            self.answered = True
            problems.append(str(error))
            return None
        self.answered = True
        return found

    def _miss(self, at: str, why: str, part: str, missing: D | None) -> D | None:
        known = self._away.setdefault(at, Away(at, why, []))
        if part not in known.parts:
            known.parts.append(part)
        return missing


def _plain(error: AdminUnreachable) -> str:
    """Why there was no answer; the client's own words say the address again."""
    return re.sub(r"^\[Errno \d+\] ", "", first_line(error.__cause__ or error))
