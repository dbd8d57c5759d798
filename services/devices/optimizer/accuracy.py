"""How good forecasts were, and whether what is asked now still looks like what was asked before. Pure.

Drift is the population stability index of the last values against the first ones, over ten equally frequent bins: below
0.1 nothing has changed, above 0.25 a model should be looked at again (the usual reading of the index).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

import numpy as np

from services.devices.optimizer.errors import BadInput

BINS = 10
#: Values on each side of the comparison.
WINDOW = 2000
_LEAST = 1e-4


def error_share(expected: Sequence[float], actual: Sequence[float]) -> float:
    """The sum of all errors as a share of what was (weighted absolute percentage error). Raises: BadInput."""
    if len(expected) != len(actual) or not actual:
        raise BadInput("expected and actual must be two series of the same length")
    used = float(np.abs(actual).sum())
    if used == 0:
        raise BadInput("where nothing was used, no share can be told")
    return float(np.abs(np.subtract(expected, actual)).sum() / used)


def bias_share(expected: Sequence[float], actual: Sequence[float]) -> float:
    """What was expected too much, as a share of what was; below 0: too little. As `error_share`."""
    error_share(expected, actual)
    return float(np.subtract(expected, actual).sum() / np.abs(actual).sum())


class Drift:
    """Keeps the first values as the reference and the last ones beside it: bounded memory."""

    def __init__(self, window: int = WINDOW) -> None:
        self._window = window
        self._first: list[float] = []
        self._last: deque[float] = deque(maxlen=window)

    def see(self, values: Iterable[float]) -> None:
        for value in values:
            if len(self._first) < self._window:
                self._first.append(value)
            else:
                self._last.append(value)

    def index(self) -> float | None:
        """None until both windows are full."""
        if len(self._last) < self._window:
            return None
        edges = np.unique(np.quantile(self._first, np.linspace(0, 1, BINS + 1)[1:-1]))
        shares = [self._shares(values, edges) for values in (self._first, list(self._last))]
        return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())

    def _shares(self, values: Sequence[float], edges: np.ndarray) -> np.ndarray:
        counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
        return np.maximum(counts / len(values), _LEAST)
