"""Tables that the monolith knows nothing of: enrolments, tokens, commands' progress. Not mapped, not guarded.

None refers to `devices` by a foreign key: a first fill empties that table, and must not need to ask these.
"""

from __future__ import annotations

import sqlalchemy as sa
from advanced_alchemy.types import DateTimeUTC
from sqlalchemy.dialects.postgresql import JSONB

from services.devices.store.metadata import METADATA

CLAIMS = sa.Table(
    "claims",
    METADATA,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("device_id", sa.BigInteger, nullable=False),
    sa.Column("code_sha256", sa.Text, nullable=False, unique=True),
    sa.Column("created_at", DateTimeUTC, nullable=False, server_default=sa.func.now()),
    sa.Column("expires_at", DateTimeUTC, nullable=False),
    sa.Column("wrong_tries", sa.Integer, nullable=False, server_default="0"),
    sa.Column("used_at", DateTimeUTC),
    sa.Column("key_sha256", sa.Text),
    sa.Index("claims_device", "device_id"),
)

ENROLMENTS = sa.Table(
    "enrolments",
    METADATA,
    sa.Column("device_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("pulse_ref", sa.Text),
    sa.Column("claimed_at", DateTimeUTC),
    sa.Column("live_at", DateTimeUTC),
    sa.Column("revoked_at", DateTimeUTC),
)

DEVICE_TOKENS = sa.Table(
    "device_tokens",
    METADATA,
    sa.Column("token_sha1", sa.Text, primary_key=True),
    sa.Column("device_id", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("expires_at", DateTimeUTC, nullable=False),
    sa.Index("device_tokens_device", "device_id"),
)

COMMAND_PROGRESS = sa.Table(
    "command_progress",
    METADATA,
    sa.Column("ref", sa.Text, primary_key=True),
    sa.Column("device_id", sa.BigInteger, nullable=False),
    sa.Column("correlation_id", sa.Uuid, nullable=False, unique=True, server_default=sa.text("gen_random_uuid()")),
    sa.Column("issuer", sa.Text, nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("state", sa.Text, nullable=False, server_default="queued"),
    sa.Column("note", sa.Text, nullable=False, server_default=""),
    sa.Column("mode", sa.Text, nullable=False),
    sa.Column("power_w", sa.Integer, nullable=False),
    sa.Column("supersedes", sa.Text),
    sa.Column("replay_of", sa.Uuid),
    sa.Column("idempotency_key", sa.Text),
    sa.Column("issued_at", DateTimeUTC, nullable=False),
    sa.Column("expires_at", DateTimeUTC, nullable=False),
    sa.Column("sent_at", DateTimeUTC),
    sa.Column("delivered_at", DateTimeUTC),
    sa.Column("settled_at", DateTimeUTC),
    sa.Column("observed_at", DateTimeUTC),
    sa.UniqueConstraint("device_id", "idempotency_key"),
    sa.Index("command_progress_device", "device_id", "issued_at"),
)
_P = COMMAND_PROGRESS.c
sa.Index("command_progress_open", _P.expires_at, postgresql_where=_P.state.in_(["queued", "sent", "delivered"]))
sa.Index(
    "command_progress_dead",
    _P.settled_at,
    _P.ref,
    postgresql_where=_P.state.in_(["failed", "rejected", "expired", "timed_out"]),
)

FALLBACKS = sa.Table(
    "fallbacks",
    METADATA,
    sa.Column("device_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("after_s", sa.Integer, nullable=False),
    sa.Column("slots", JSONB, nullable=False),
    sa.Column("updated_at", DateTimeUTC, nullable=False, server_default=sa.func.now()),
)

SCHEDULE_VERSIONS = sa.Table(
    "schedule_versions",
    METADATA,
    sa.Column("device_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("slots", JSONB, nullable=False),
    sa.Column("created_at", DateTimeUTC, nullable=False, server_default=sa.func.now()),
)
