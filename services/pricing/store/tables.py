"""Pricing's tables as SQLAlchemy sees them; the migrations make them, and a test holds both equal."""

from __future__ import annotations

import sqlalchemy as sa
from advanced_alchemy.types import DateTimeUTC

METADATA = sa.MetaData()

TARIFFS = sa.Table(
    "tariffs",
    METADATA,
    sa.Column("id", sa.BigInteger, sa.Identity(start=1_000_000_000), primary_key=True),
    sa.Column("code", sa.Text, nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("standing_charge", sa.Numeric(12, 2), nullable=False),
    sa.Column("vat_rate", sa.Numeric(7, 4), nullable=False),
    sa.Column("valid_from", DateTimeUTC, nullable=False),
    sa.Column("updated_at", DateTimeUTC, nullable=False, server_default=sa.func.now()),
)

TARIFF_RATES = sa.Table(
    "tariff_rates",
    METADATA,
    sa.Column("id", sa.BigInteger, sa.Identity(start=1_000_000_000), primary_key=True),
    sa.Column("tariff_id", sa.BigInteger, sa.ForeignKey("tariffs.id", ondelete="CASCADE"), nullable=False),
    sa.Column("starts_hour", sa.SmallInteger, nullable=False),
    sa.Column("ends_hour", sa.SmallInteger, nullable=False),
    sa.Column("price_per_kwh", sa.Numeric(10, 5), nullable=False),
    sa.UniqueConstraint("tariff_id", "starts_hour"),
)

MARKET_PRICES = sa.Table(
    "market_prices",
    METADATA,
    sa.Column("id", sa.BigInteger, sa.Identity(start=1_000_000_000), primary_key=True),
    sa.Column("area", sa.Text, nullable=False),
    sa.Column("starts_at", DateTimeUTC, nullable=False),
    sa.Column("price", sa.Numeric(10, 2), nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("updated_at", DateTimeUTC, nullable=False, server_default=sa.func.now()),
    sa.UniqueConstraint("area", "starts_at"),
)

QUOTES = sa.Table(
    "quotes",
    METADATA,
    sa.Column("id", sa.BigInteger, sa.Identity(start=1_000_000_000), primary_key=True),
    sa.Column("client_ref", sa.Text, unique=True),
    sa.Column("customer_id", sa.BigInteger, nullable=False),
    sa.Column("tariff_code", sa.Text, nullable=False),
    sa.Column("energy_kwh", sa.Numeric(12, 3), nullable=False),
    sa.Column("amount", sa.Numeric(12, 2), nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("created_at", DateTimeUTC, nullable=False, server_default=sa.func.now()),
    sa.Index("quotes_customer", "customer_id", "id"),
)

CUSTOMER_REFS = sa.Table(
    "customer_refs", METADATA, sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False)
)
