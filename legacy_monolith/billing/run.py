"""One month of one contract becomes one invoice. The amounts come from the trigger on invoice_line."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from legacy_monolith import localtime
from legacy_monolith.guard import sqlstate

#: Raised by billing_amount when an hour has neither price nor rate.
NO_PRICE = "BL422"

_CONTRACTS = text("""
    SELECT id, customer_id, tariff_id, area, greatest(start_day, :first) AS day_from,
           least(coalesce(end_day, :last), :last) AS day_to
    FROM contract
    WHERE (CAST(:customer_id AS bigint) IS NULL OR customer_id = :customer_id)
        AND start_day < :last AND (end_day IS NULL OR end_day > :first)
    ORDER BY id
""")
# The loser of two runs waits for the winner here, and then finds the invoice. No conflict target: the number is unique
# too, and the loser may meet that first.
_INVOICE = text("""
    INSERT INTO invoice (number, customer_id, contract_id, tariff_id, area, month, created,
                         net_cents, vat_cents, total_cents)
    VALUES (:number, :customer_id, :contract_id, :tariff_id, :area, :month, :created, 0, 0, 0)
    ON CONFLICT DO NOTHING RETURNING id
""")
_METERS = text("SELECT id, ean FROM meter WHERE contract_id = :contract_id ORDER BY id")
# The trigger invoice_line_fill puts the kWh and the amounts in.
_LINE = text("""
    INSERT INTO invoice_line (invoice_id, line_no, kind, meter_id, day_from, day_to, description)
    VALUES (:invoice_id, :line_no, :kind, :meter_id, :day_from, :day_to, :description)
""")
_TOTALS = text("""
    UPDATE invoice SET net_cents = s.net, vat_cents = s.vat, total_cents = s.net + s.vat
    FROM (SELECT coalesce(sum(amount_cents) FILTER (WHERE kind <> 'V'), 0) AS net,
                 coalesce(sum(amount_cents) FILTER (WHERE kind = 'V'), 0) AS vat
          FROM invoice_line WHERE invoice_id = :id) s
    WHERE invoice.id = :id
""")


@dataclass(slots=True)
class Billed:
    """Contracts that got an invoice now, that had one, and that could not be billed with the reason."""

    created: list[int] = field(default_factory=list)
    known: list[int] = field(default_factory=list)
    refused: list[tuple[int, str]] = field(default_factory=list)


def month_bounds(month: str) -> tuple[date, date]:
    """First day, and first day of the next month."""
    first = date.fromisoformat(f"{month}-01")
    return first, date(first.year + first.month // 12, first.month % 12 + 1, 1)


def run(session: Session, month: str, customer_id: int | None) -> Billed:
    """Bills every contract of the month (of one customer, or of all); the caller commits."""
    first, last = month_bounds(month)
    billed = Billed()
    contracts = session.execute(_CONTRACTS, {"customer_id": customer_id, "first": first, "last": last}).all()
    for contract in contracts:
        try:
            with session.begin_nested():
                new = _bill(session, contract, month)
        except DBAPIError as error:
            if sqlstate(error) != NO_PRICE:
                raise
            billed.refused.append((contract.id, error.orig.diag.message_primary))
        else:
            (billed.created if new else billed.known).append(contract.id)
    return billed


def forget(session: Session, month: str, customer_id: int | None) -> None:
    """Take the month's invoices away, for a trial run that is rolled back."""
    wanted = {"month": month, "customer_id": customer_id}
    chosen = "month = :month AND (CAST(:customer_id AS bigint) IS NULL OR customer_id = :customer_id)"
    session.execute(
        text(f"DELETE FROM invoice_line WHERE invoice_id IN (SELECT id FROM invoice WHERE {chosen})"), wanted
    )
    session.execute(text(f"DELETE FROM invoice WHERE {chosen}"), wanted)


def _bill(session: Session, contract: Any, month: str) -> bool:
    """False when the contract has its invoice of the month already."""
    invoice_id = session.execute(
        _INVOICE,
        {
            "number": f"{month}-{contract.id:06d}",
            "customer_id": contract.customer_id,
            "contract_id": contract.id,
            "tariff_id": contract.tariff_id,
            "area": contract.area,
            "month": month,
            "created": localtime.now(),
        },
    ).scalar()
    if invoice_id is None:
        return False
    meters = session.execute(_METERS, {"contract_id": contract.id}).all()
    kinds = [("E", meter.id, f"Energy, meter {meter.ean}") for meter in meters]
    kinds += [("S", None, "Standing charge"), ("V", None, "VAT")]
    for line_no, (kind, meter_id, description) in enumerate(kinds, start=1):
        line = {"invoice_id": invoice_id, "line_no": line_no, "kind": kind, "meter_id": meter_id}
        days = {"day_from": contract.day_from, "day_to": contract.day_to}
        session.execute(_LINE, {**line, **days, "description": description})
    session.execute(_TOTALS, {"id": invoice_id})
    return True
