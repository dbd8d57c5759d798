"""Alembic's entry for every service: the connection comes from `services.chassis.migrate`."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
context.run_migrations()
