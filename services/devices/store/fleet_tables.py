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

ASSIGNMENT_FLOOR = sa.Table(
    "assignment_floor",
    METADATA,
    sa.Column("only_one", sa.Boolean, primary_key=True, server_default=sa.true()),
    sa.Column("epoch", sa.BigInteger, nullable=False),
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

REPORTED = sa.Table(
    "reported",
    METADATA,
    sa.Column("device_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("observed_at", DateTimeUTC, nullable=False),
    sa.Column("received_at", DateTimeUTC, nullable=False, server_default=sa.func.now()),
    sa.Column("schedule_version", sa.Integer, nullable=False),
    sa.Column("fallback_version", sa.Integer, nullable=False),
    sa.Column("mode", sa.Text, nullable=False),
    sa.Column("power_w", sa.Integer, nullable=False),
    sa.Column("soc", sa.REAL),
    sa.Column("following", sa.Text, nullable=False),
    sa.Column("backend", sa.Text, nullable=False),
    sa.Column("agent_version", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("clock_skew_ms", sa.BigInteger, nullable=False),
)

PRESENCE = sa.Table(
    "presence",
    METADATA,
    sa.Column("device_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("online", sa.Boolean, nullable=False),
    sa.Column("since", DateTimeUTC, nullable=False),
    sa.Column("last_seen_at", DateTimeUTC, nullable=False),
    sa.Column("via", sa.Text, nullable=False),
)
sa.Index("presence_online", PRESENCE.c.last_seen_at, postgresql_where=PRESENCE.c.online)

CONNECTIONS = sa.Table(
    "connections",
    METADATA,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("device_id", sa.BigInteger, nullable=False),
    sa.Column("at", DateTimeUTC, nullable=False),
    sa.Column("online", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Index("connections_device", "device_id", "id"),
    sa.Index("connections_at", "at"),
)

EXECUTION_LOG = sa.Table(
    "execution_log",
    METADATA,
    sa.Column("received_at", DateTimeUTC, nullable=False, server_default=sa.func.now()),
    sa.Column("device_id", sa.BigInteger, nullable=False),
    sa.Column("ref", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("observed_at", DateTimeUTC, nullable=False),
    sa.Index("execution_log_device", "device_id", "received_at"),
)

TELEMETRY = sa.Table(
    "telemetry",
    METADATA,
    sa.Column("device_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("observed_at", DateTimeUTC, primary_key=True),
    sa.Column("received_at", DateTimeUTC, nullable=False, server_default=sa.func.now()),
    sa.Column("soc", sa.REAL),
    sa.Column("power_w", sa.Integer, nullable=False),
    sa.Column("mode", sa.Text),
)

UPDATES = sa.Table(
    "updates",
    METADATA,
    sa.Column("version", sa.Text, primary_key=True),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("min_version", sa.Text),
    sa.Column("percent", sa.Integer, nullable=False),
    sa.Column("created_at", DateTimeUTC, nullable=False),
    sa.Column("expires_at", DateTimeUTC, nullable=False),
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("signature", sa.Text, nullable=False),
    sa.Column("key_id", sa.Text, nullable=False),
)

UPDATE_STATES = sa.Table(
    "update_states",
    METADATA,
    sa.Column("device_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("version", sa.Text, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("at", DateTimeUTC, nullable=False, server_default=sa.func.now()),
)
