"""Whether the wall clock may be acted upon: pure, by what servers said and by the latest time that was ever known.

A small computer without a battery-backed clock comes up with the time at which it was switched off, or with 1970.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

#: A `Date` has whole seconds, and an answer is on its way for a while: less than this is no skew.
NOISE_S = 2.0


class Timekeeper:
    """`floor`: a time that has been reached for certain, from an earlier life of the agent."""

    def __init__(self, floor: datetime | None = None) -> None:
        self.floor = floor
        self._server: tuple[datetime, float] | None = None  # by the last Date, and the monotonic clock then

    def note(self, date: str | None, monotonic: float) -> None:
        """An answer's `Date`; one that cannot be read says nothing."""
        if date is None:
            return
        try:
            instant = parsedate_to_datetime(date)
        except ValueError:
            return
        self._server = (instant if instant.tzinfo else instant.replace(tzinfo=UTC), monotonic)

    def note_skew(self, skew_s: float, now: datetime, monotonic: float) -> None:
        """The server's own word on its clock minus ours."""
        self._server = (now + timedelta(seconds=skew_s), monotonic)

    def server_now(self, monotonic: float) -> datetime | None:
        """The server's clock, carried on by the monotonic one: ours set right, the skew is gone, even off line."""
        if self._server is None:
            return None
        instant, then = self._server
        return instant + timedelta(seconds=monotonic - then)

    def skew_s(self, now: datetime, monotonic: float) -> float | None:
        """The server's clock minus ours, to whole seconds; None when not known."""
        server = self.server_now(monotonic)
        return None if server is None else (server - now).total_seconds()

    def distrust(self, now: datetime, monotonic: float, max_skew_s: float) -> str | None:
        """Why the clock is not to be trusted, or None. `max_skew_s` 0 turns the check off."""
        if max_skew_s == 0:
            return None
        skew = self.skew_s(now, monotonic)
        if skew is not None:
            return f"it is {abs(skew):.0f} s {'behind' if skew > 0 else 'ahead'}" if abs(skew) > max_skew_s else None
        if self.floor is not None and (self.floor - now).total_seconds() > max_skew_s:
            return f"it is before {self.floor:%Y-%m-%dT%H:%M}Z, which has been"
        return None

    def latest(self, now: datetime, monotonic: float) -> datetime:
        """The later of both clocks, for ends: whichever of them is wrong, a command never runs after its time."""
        server = self.server_now(monotonic)
        if server is None or (server - now).total_seconds() <= NOISE_S:
            return now
        return server
