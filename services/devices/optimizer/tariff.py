"""What a kWh costs at the meter when the market's price is known. Pure.

Import is taxed, export is not: (spot + markup) × (1 + VAT) against spot. Negative prices are legal on both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
KWH_A_MWH = 1000.0


@dataclass(frozen=True, slots=True)
class Tariff:
    """`markup_eur_kwh`: energy tax and the retailer's margin, before VAT."""

    markup_eur_kwh: float = 0.13
    vat_rate: float = 0.21

    def import_eur_kwh(self, spot_eur_mwh: Array) -> Array:
        return (spot_eur_mwh / KWH_A_MWH + self.markup_eur_kwh) * (1 + self.vat_rate)

    def export_eur_kwh(self, spot_eur_mwh: Array) -> Array:
        return spot_eur_mwh / KWH_A_MWH

    def bill_eur(self, spot_eur_mwh: Array, net_kwh: Array) -> Array:
        """What each step costs; `net_kwh` above 0 is taken from the grid. Broadcasts."""
        return np.where(
            net_kwh > 0,
            net_kwh * self.import_eur_kwh(spot_eur_mwh),
            net_kwh * self.export_eur_kwh(spot_eur_mwh),
        )


#: Import and export at the market's price: a battery before the meter, or steering by imbalance.
WHOLESALE = Tariff(markup_eur_kwh=0.0, vat_rate=0.0)
