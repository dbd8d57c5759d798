"""The monolith's command line: migrate, seed, load, one run of the minute job."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import psycopg
import sqlalchemy.exc

from legacy_monolith.errors import CommandError
from legacy_monolith.settings import require


def _migrate(arguments: argparse.Namespace) -> None:
    from legacy_monolith.migrate import migrate

    print(f"legacy: at revision {migrate(require(os.environ, 'LEGACY_OWNER_DATABASE_URL'))}")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m legacy_monolith", description=__doc__)
    commands = made.add_subparsers(dest="command", required=True)
    commands.add_parser("migrate", help="bring the database to the newest revision").set_defaults(run=_migrate)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except (CommandError, OSError) as error:
        print(f"legacy: {error}", file=sys.stderr)
        return 1
    except (psycopg.Error, sqlalchemy.exc.DBAPIError) as error:
        reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
        print(f"legacy: the database refused: {reason}", file=sys.stderr)
        return 1
    return 0
