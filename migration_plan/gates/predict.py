"""How long the writes will wait, said before the step: what the last switches took, with the lag of now. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

# Statements and messages that a pause consists of besides waiting: hold, fence, ledger, marker, look-ups, two owners,
# publish.
ROUND_TRIPS = 8
# Nine in ten pauses shall lie in the interval: Student's t for so many degrees of freedom, from 1 on, then for more.
_T = (6.31, 2.92, 2.35, 2.13, 2.02, 1.94, 1.89, 1.86, 1.83, 1.81)
_T_MORE = 1.75
# A factor, up and down. Never switched here: the messages' time says little of what fences and disks will add.
_UNKNOWN = 4.0
# Of the logarithm; no machine is steadier, however equal the last pauses were by chance.
_LEAST_SPREAD = 0.15


@dataclass(frozen=True, slots=True)
class Past:
    """A pause that was, and what of it went on waiting for locks and for the stream. Milliseconds."""

    pause: float
    fence: float = 0.0
    catch_up: float = 0.0


@dataclass(frozen=True, slots=True)
class Prediction:
    """Milliseconds; `low` to `high` has nine of ten pauses, as long as the machine stays as it is."""

    expected: float
    low: float
    high: float


def predict(
    past: Sequence[Past], *, lag: float, oldest_transaction: float, round_trip: float, gateway: float
) -> Prediction:
    """From the newest pauses of the same direction, or, without any, from the messages that one consists of.

    A lag or a transaction that is longer than what the earlier pauses waited for takes that place in each of them.
    Pauses are spread as products are, with a long tail: so it is their logarithms that are averaged.
    """
    if not past:
        expected = ROUND_TRIPS * round_trip + 2 * gateway + lag + oldest_transaction
        return _rounded(expected, expected / _UNKNOWN, expected * _UNKNOWN)
    now = [
        max(one.pause - one.fence - one.catch_up, 0.0) + max(one.fence, oldest_transaction) + max(one.catch_up, lag)
        for one in past
    ]
    logs = [math.log(max(pause, 0.1)) for pause in now]
    factor = math.exp(_reach(logs))
    middle = math.exp(statistics.fmean(logs))
    return _rounded(statistics.median(now), middle / factor, middle * factor)


def _reach(logs: Sequence[float]) -> float:
    """Half the width of a prediction interval of one more value; of a single one nothing but a guess can be had."""
    if len(logs) == 1:
        return math.log(_UNKNOWN)
    spread = max(statistics.stdev(logs), _LEAST_SPREAD)
    t = _T[len(logs) - 2] if len(logs) - 2 < len(_T) else _T_MORE
    return min(t * spread * math.sqrt(1 + 1 / len(logs)), math.log(_UNKNOWN))


def _rounded(expected: float, low: float, high: float) -> Prediction:
    return Prediction(round(expected, 1), round(low, 1), round(high, 1))
