"""Tariff, price and quote."""

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


class Tariff(Base):
    __tablename__ = "tariff"
    id = Column(BigInteger, primary_key=True)
    code = Column(String(20), nullable=False, unique=True)
    name = Column(String(100), nullable=False)
    status = Column(CHAR(1), nullable=False)  # A active, I inactive
    kind = Column(CHAR(1), nullable=False)  # F fixed, D dynamic
    standing_cents = Column(Integer, nullable=False)  # a day
    vat_pct = Column(Numeric(5, 2), nullable=False)
    valid_from = Column(DateTime, nullable=False)
    updated = Column(DateTime, nullable=False)


class TariffRate(Base):
    __tablename__ = "tariff_rate"
    __table_args__ = (UniqueConstraint("tariff_id", "hour_from"),)
    id = Column(BigInteger, primary_key=True)
    tariff_id = Column(BigInteger, ForeignKey("tariff.id"), nullable=False)
    hour_from = Column(SmallInteger, nullable=False)
    hour_to = Column(SmallInteger, nullable=False)
    price_kwh = Column(Numeric(10, 5), nullable=False)  # EUR, not cents


class Price(Base):
    __tablename__ = "price"
    __table_args__ = (UniqueConstraint("area", "ts", "hour_flag"),)
    id = Column(BigInteger, primary_key=True)
    area = Column(String(8), nullable=False)
    ts = Column(DateTime, nullable=False)  # start of the hour, local
    hour_flag = Column(CHAR(1), nullable=False)  # N normal, A/B first/second pass of the repeated hour
    eur_mwh = Column(Numeric(10, 2), nullable=False)
    source = Column(String(20), nullable=False)
    updated = Column(DateTime, nullable=False)


class PriceDaily(Base):
    """Kept by triggers on `price`; never written from here."""

    __tablename__ = "price_daily"
    area = Column(String(8), primary_key=True)
    day = Column(Date, primary_key=True)
    min_eur_mwh = Column(Numeric(10, 2), nullable=False)
    max_eur_mwh = Column(Numeric(10, 2), nullable=False)
    hours = Column(Integer, nullable=False)


class Quote(Base):
    __tablename__ = "quote"
    id = Column(BigInteger, primary_key=True)
    client_ref = Column(String(64), unique=True)
    customer_id = Column(BigInteger, ForeignKey("customer.id"), nullable=False)
    tariff_code = Column(String(20), nullable=False)
    kwh = Column(Numeric(12, 3), nullable=False)
    amount_cents = Column(Integer, nullable=False)
    status = Column(CHAR(1), nullable=False)  # O open, X expired
    created = Column(DateTime, nullable=False)
