"""Makes quotes: the same key gives the same quote, whichever API it comes through."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncConnection

from services.chassis.references import patiently
from services.pricing.domain import quotes as pricing
from services.pricing.domain.quotes import Quote
from services.pricing.store import quotes

# The monolith keeps cents in an int4; a larger amount could not travel back to it.
LARGEST = Decimal("21474836.47")


class NotQuotable(Exception):
    """There is no price for this wish; `status` is 404 for what does not exist, 422 for what cannot be priced."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class KeyReused(Exception):
    """The key belongs to another wish."""


@dataclass(frozen=True, slots=True)
class Wish:
    key: str | None
    customer_id: int
    tariff_code: str
    energy_kwh: Decimal

    def is_answered_by(self, quote: Quote) -> bool:
        given = (quote.customer_id, quote.tariff_code, quote.energy_kwh)
        return given == (self.customer_id, self.tariff_code, self.energy_kwh)


async def quote(connection: AsyncConnection, wish: Wish) -> tuple[Quote, bool]:
    """The quote, and whether it is new. Two queries: what it depends on, and the insert.

    Raises: NotQuotable, KeyReused.
    """
    basis = await _basis(connection, wish)
    if basis.earlier is not None:
        return _repeated(wish, basis.earlier)
    made = await quotes.add(
        connection,
        client_ref=wish.key,
        customer_id=wish.customer_id,
        tariff_code=wish.tariff_code,
        energy_kwh=wish.energy_kwh,
        amount=price(wish.energy_kwh, basis),
    )
    if made is not None:
        return made, True
    # Somebody used the key since we looked. The insert waited for their commit, so now it can be read.
    first = await quotes.by_client_ref(connection, wish.key or "")
    if first is None:
        raise LookupError("a quote vanished between two statements")
    return _repeated(wish, first)


async def _basis(connection: AsyncConnection, wish: Wish) -> quotes.Basis:
    async def look() -> quotes.Basis:
        return await quotes.basis(connection, wish.tariff_code, wish.customer_id, wish.key)

    basis = await look()
    if basis.customer_known or basis.vat_rate is None or basis.earlier is not None:
        return basis

    async def look_for_the_customer() -> quotes.Basis | None:
        again = await look()
        return again if again.customer_known else None

    return await patiently(look_for_the_customer) or basis


def _repeated(wish: Wish, first: Quote) -> tuple[Quote, bool]:
    if not wish.is_answered_by(first):
        raise KeyReused
    return first, False


def price(energy_kwh: Decimal, basis: quotes.Basis) -> Decimal:
    """EUR including VAT. Raises: NotQuotable, in the order in which the monolith looks."""
    if basis.vat_rate is None:
        raise NotQuotable(404, "tariff not found")
    if not basis.customer_known:
        raise NotQuotable(404, "customer not found")
    if basis.state != "active":
        raise NotQuotable(422, "tariff is not active")
    if basis.kind == "fixed":
        if basis.rate_sum is None:
            raise NotQuotable(422, "tariff has no rates")
        amount = pricing.fixed_amount(energy_kwh, basis.rate_sum, basis.vat_rate)
    else:
        if not basis.market_hours or basis.market_sum is None:
            raise NotQuotable(422, "there are no prices yet")
        amount = pricing.dynamic_amount(energy_kwh, basis.market_sum, basis.market_hours, basis.vat_rate)
    if abs(amount) > LARGEST:
        raise NotQuotable(422, "the amount is too large")
    return amount
