"""The tables as SQLAlchemy sees them; the migrations make them, and a test holds both equal."""

from __future__ import annotations

import sqlalchemy as sa
from advanced_alchemy.types import DateTimeUTC

from services.chassis.messages.tables import define

METADATA = sa.MetaData()

MESSAGES = sa.Table(
    "messages",
    METADATA,
    sa.Column("id", sa.BigInteger, sa.Identity(start=1_000_000_000), primary_key=True),
    sa.Column("customer_id", sa.BigInteger, nullable=False),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("recipient", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("error", sa.Text),
    sa.Column("created_at", DateTimeUTC, nullable=False, server_default=sa.func.now()),
    sa.Column("sent_at", DateTimeUTC),
    sa.Index("messages_customer", "customer_id", "id"),
)
sa.Index("messages_queued", MESSAGES.c.id, postgresql_where=MESSAGES.c.state == "queued")

PREFERENCES = sa.Table(
    "preferences",
    METADATA,
    sa.Column("customer_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("email", sa.Boolean, nullable=False),
    sa.Column("sms", sa.Boolean, nullable=False),
    sa.Column("push", sa.Boolean, nullable=False),
    sa.Column("quiet_from", sa.Time),
    sa.Column("quiet_to", sa.Time),
    sa.Column("updated_at", DateTimeUTC, nullable=False, server_default=sa.func.now()),
)

CUSTOMER_REFS = sa.Table(
    "customer_refs",
    METADATA,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("email", sa.Text, nullable=False),
)

define(METADATA)
