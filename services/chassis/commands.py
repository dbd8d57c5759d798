"""`python -m services.<name> migrate`."""

from __future__ import annotations

import sys
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from services.chassis.errors import ServiceError
from services.chassis.health import newest_revision


def main(name: str, migrations: Path) -> int:
    """Run the command in `sys.argv`; the exit code."""
    if sys.argv[1:] != ["migrate"]:
        print(f"usage: python -m services.{name} migrate", file=sys.stderr)
        return 2
    from services.chassis.migrate import migrate  # Alembic takes half a second to import, and only this needs it.

    try:
        migrate(name, migrations)
    except ServiceError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
        print(f"{name}: the database refused: {reason}", file=sys.stderr)
        return 1
    print(f"{name}: at migration {newest_revision(migrations)}")
    return 0
