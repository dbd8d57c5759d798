"""Invoice and its lines. Amounts of lines come from the trigger invoice_line_fill."""

from sqlalchemy import (
    CHAR,
    BigInteger,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Integer,
    Numeric,
    SmallInteger,
    String,
    UniqueConstraint,
)

from legacy_monolith.base import Base


class Invoice(Base):
    __tablename__ = "invoice"
    __table_args__ = (UniqueConstraint("contract_id", "month"),)
    id = Column(BigInteger, primary_key=True)
    number = Column(String(30), nullable=False, unique=True)
    customer_id = Column(BigInteger, ForeignKey("customer.id"), nullable=False)
    contract_id = Column(BigInteger, ForeignKey("contract.id"), nullable=False)
    tariff_id = Column(BigInteger, ForeignKey("tariff.id"), nullable=False)  # reaches into pricing
    area = Column(String(8), nullable=False)
    month = Column(CHAR(7), nullable=False)
    net_cents = Column(Integer, nullable=False)
    vat_cents = Column(Integer, nullable=False)
    total_cents = Column(Integer, nullable=False)
    created = Column(DateTime, nullable=False)


class InvoiceLine(Base):
    __tablename__ = "invoice_line"
    __table_args__ = (UniqueConstraint("invoice_id", "line_no"),)
    id = Column(BigInteger, primary_key=True)
    invoice_id = Column(BigInteger, ForeignKey("invoice.id"), nullable=False)
    line_no = Column(SmallInteger, nullable=False)
    kind = Column(CHAR(1), nullable=False)  # E energy, S standing charge, V VAT
    meter_id = Column(BigInteger, ForeignKey("meter.id"))  # of an energy line
    day_from = Column(Date, nullable=False)
    day_to = Column(Date, nullable=False)  # exclusive
    description = Column(String(100), nullable=False)
    kwh = Column(Numeric(14, 3))
    amount = Column(Numeric(14, 5), nullable=False)  # EUR, before rounding
    amount_cents = Column(Integer, nullable=False)
