"""The tables as SQLAlchemy sees them; the migrations make them, and a test holds both equal."""

from __future__ import annotations

import sqlalchemy as sa
from advanced_alchemy.types import DateTimeUTC
from sqlalchemy.dialects.postgresql import JSONB

from services.chassis.messages.tables import define
from services.devices.store import fleet_tables as fleet_tables  # so that METADATA is whole
from services.devices.store.metadata import METADATA as METADATA

DEVICES = sa.Table(
    "devices",
    METADATA,
    sa.Column("id", sa.BigInteger, sa.Identity(start=1_000_000_000), primary_key=True),
    sa.Column("serial", sa.Text, nullable=False, unique=True),
    sa.Column("customer_id", sa.BigInteger, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("capacity_wh", sa.Integer, nullable=False),
    sa.Column("max_power_w", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("token_sha1", sa.Text, nullable=False, unique=True),
    sa.Column("registered_at", DateTimeUTC, nullable=False, server_default=sa.func.now()),
)


def _device() -> sa.ForeignKey:
    return sa.ForeignKey("devices.id", ondelete="CASCADE")


SCHEDULES = sa.Table(
    "schedules",
    METADATA,
    sa.Column("device_id", sa.BigInteger, _device(), primary_key=True, autoincrement=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("slots", JSONB, nullable=False),
    sa.Column("updated_at", DateTimeUTC, nullable=False, server_default=sa.func.now()),
)

ACKS = sa.Table(
    "acks",
    METADATA,
    sa.Column("id", sa.BigInteger, sa.Identity(start=1_000_000_000), primary_key=True),
    sa.Column("device_id", sa.BigInteger, _device(), nullable=False),
    sa.Column("ref", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("observed_at", DateTimeUTC, nullable=False),
    sa.Column("received_at", DateTimeUTC, nullable=False, server_default=sa.func.now()),
    sa.UniqueConstraint("device_id", "ref", "state"),
    sa.Index("acks_device_page", "device_id", "id"),
)

COMMANDS = sa.Table(
    "commands",
    METADATA,
    sa.Column("id", sa.BigInteger, sa.Identity(start=1_000_000_000), primary_key=True),
    sa.Column("device_id", sa.BigInteger, _device(), nullable=False),
    sa.Column("ref", sa.Text, nullable=False, unique=True),
    sa.Column("mode", sa.Text, nullable=False),
    sa.Column("power_w", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("issued_at", DateTimeUTC, nullable=False),
    sa.Column("expires_at", DateTimeUTC, nullable=False),
    sa.Index("commands_device", "device_id", "expires_at"),
)

CUSTOMER_REFS = sa.Table(
    "customer_refs", METADATA, sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False)
)

IMBALANCE_PRICES = sa.Table(
    "imbalance_prices",
    METADATA,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("area", sa.Text, nullable=False),
    sa.Column("starts_at", DateTimeUTC, nullable=False),
    sa.Column("minutes", sa.SmallInteger, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("price", sa.Numeric(10, 2), nullable=False),
    sa.Column("quality", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("observed_at", DateTimeUTC, nullable=False, server_default=sa.func.now()),
    sa.UniqueConstraint("area", "starts_at", "minutes", "revision"),
)

BATTERY_STATES = sa.Table(
    "battery_states",
    METADATA,
    sa.Column("device_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("soc", sa.REAL),
    sa.Column("soc_at", DateTimeUTC),
    sa.Column("mode", sa.Text, nullable=False, server_default="idle"),
    sa.Column("since", DateTimeUTC),
)

PLANNER_MODELS = sa.Table(
    "planner_models",
    METADATA,
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("settings", JSONB, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("active", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("created_at", DateTimeUTC, nullable=False, server_default=sa.func.now()),
)
sa.Index("planner_models_one_active", PLANNER_MODELS.c.active, unique=True, postgresql_where=PLANNER_MODELS.c.active)

define(METADATA)
