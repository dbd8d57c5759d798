"""What a household will use: what it used a week before at the same hour. Pure.

A forecast that any meter can make, and that the honest figures are measured with; a better one is another version in
the registry.
"""

from __future__ import annotations

import numpy as np

from services.devices.optimizer.tariff import Array

WEEK_HOURS = 7 * 24


def last_week(load_kwh: Array, first: int, steps: int) -> Array:
    """The expected load [home, step] of `steps` hours from index `first`; `load_kwh` is [home, hour].

    Only indices before `first` may be asked of a real history; a replay's year comes again before itself.
    """
    hours = np.arange(first, first + steps) - WEEK_HOURS * (1 + (steps - 1) // WEEK_HOURS)
    return load_kwh[:, hours % load_kwh.shape[1]]
