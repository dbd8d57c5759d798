"""Alembic's environment: the URL comes from whoever calls (legacy_monolith.migrate)."""

from alembic import context
from sqlalchemy import create_engine, pool, text

from legacy_monolith.models import Base

#: Two `migrate` at once: the second waits and then finds nothing to do.
_LOCK = 7_211_001


def run() -> None:
    engine = create_engine(context.config.attributes["url"], poolclass=pool.NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=Base.metadata)
        with context.begin_transaction():
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            context.run_migrations()


run()
