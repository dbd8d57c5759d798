"""Every route of the service: the monolith's contract and v2, side by side."""

from __future__ import annotations

from services.pricing.facade.prices import PricesFacade
from services.pricing.facade.quotes import QuotesFacade
from services.pricing.facade.tariffs import TariffsFacade
from services.pricing.v2.prices import PricesV2
from services.pricing.v2.quotes import QuotesV2
from services.pricing.v2.tariffs import TariffsV2

ROUTES = [TariffsFacade, PricesFacade, QuotesFacade, TariffsV2, PricesV2, QuotesV2]
