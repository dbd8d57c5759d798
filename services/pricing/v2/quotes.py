"""`/v2/quotes`."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, Response, get, post
from litestar.params import Parameter

from services.chassis import cursors
from services.chassis.application import Read, Work
from services.chassis.auth import Caller, only
from services.chassis.errors import Problem
from services.chassis.fields import LONGEST_PAGE, PAGE, at_scale
from services.pricing import quoting
from services.pricing.domain.quotes import Quote
from services.pricing.store import quotes
from services.pricing.v2 import schemas


class QuotesV2(Controller):
    path = "/v2/quotes"
    guards = [only("backoffice", "customer")]
    tags = ["quotes"]

    @post(summary="A quote; the same Idempotency-Key gives the first one again (200)")
    async def add_quote(
        self,
        work: Work,
        caller: Caller,
        data: schemas.NewQuote,
        key: Annotated[str | None, Parameter(header="Idempotency-Key", min_length=1, max_length=64)] = None,
    ) -> Response[schemas.Quote]:
        customer_id = _customer(caller, data.customer_id)
        if key is None:
            raise Problem(400, "send an Idempotency-Key: a new one for each quote, the same one for a retry")
        energy = at_scale(data.energy_kwh, 9, 3, "energy_kwh")
        if energy <= 0:
            raise Problem(422, "energy_kwh is more than 0")
        wish = quoting.Wish(key, customer_id, data.tariff_code, energy)
        async with work() as connection:
            try:
                quote, is_new = await quoting.quote(connection, wish)
            except quoting.NotQuotable as refusal:
                raise Problem(refusal.status, str(refusal)) from refusal
            except quoting.KeyReused as refusal:
                raise Problem(422, "this Idempotency-Key was used for another quote") from refusal
        return Response(_shown(quote), status_code=201 if is_new else 200)

    @get("/{quote_id:int}", summary="One quote")
    async def get_quote(self, read: Read, caller: Caller, quote_id: int) -> schemas.Quote:
        async with read() as connection:
            found = await quotes.get(connection, quote_id) if quote_id < 2**63 else None
        if found is None or not (caller.is_back_office or found.customer_id == caller.id):
            raise Problem(404, f"there is no quote {quote_id}")
        return _shown(found)

    @get(summary="Quotes, oldest first: a customer's own, or all for the back office")
    async def list_quotes(
        self,
        read: Read,
        caller: Caller,
        cursor: str | None = None,
        limit: Annotated[int, Parameter(ge=1, le=LONGEST_PAGE)] = PAGE,
    ) -> schemas.QuotePage:
        after = 0 if cursor is None else cursors.decode(cursor, int)
        async with read() as connection:
            found = await quotes.page(connection, None if caller.is_back_office else caller.id, after, limit + 1)
        more = cursors.encode(found[limit - 1].id) if len(found) > limit else None
        return schemas.QuotePage([_shown(quote) for quote in found[:limit]], more)


def _customer(caller: Caller, wanted: int | None) -> int:
    """Whom the quote is for: the customer's own id, or the one that the back office names."""
    if wanted is None:
        if caller.is_back_office:
            raise Problem(422, "customer_id is missing")
        return caller.id
    caller.require_customer(wanted)
    return wanted


def _shown(quote: Quote) -> schemas.Quote:
    return schemas.Quote(
        id=quote.id,
        customer_id=quote.customer_id,
        tariff_code=quote.tariff_code,
        energy_kwh=quote.energy_kwh,
        amount=quote.amount,
        state=quote.state,  # type: ignore[arg-type]
        created_at=quote.created_at,
    )
