"""Is a field's difference the service's doing? Pure.

Legacy, asked twice, differs with itself too: times, random ids, rows that change in between. That is noise, and a field
is a regression only when the sides differ in it clearly more often than legacy does with itself (the rule of Diffy).
"""

from __future__ import annotations

from typing import Literal

from gateway.control.comparison import Thresholds

#: regression: counts against the service. noise: legacy does so too. rare: too seldom to count.
Verdict = Literal["regression", "noise", "rare"]


def judge(raw: int, compared: int, noise: int, twice: int, thresholds: Thresholds) -> Verdict:
    """`raw` of `compared` answers differed between the sides, `noise` of `twice` between legacy and legacy."""
    share = 100 * raw / compared if compared else 0.0
    usual = 100 * noise / twice if twice else 0.0
    excess = share - usual
    if excess > 0 and 100 * excess / (share + usual) > thresholds.relative and excess > thresholds.absolute:
        return "regression"
    return "noise" if noise else "rare"
