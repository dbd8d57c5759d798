"""`python -m services.pricing migrate`, `python -m services.pricing compare`."""

import sys
from pathlib import Path

from services.chassis.commands import main


def compare() -> int:
    """Every open quote under every tariff, as one JSON object."""
    import os

    import msgspec
    import psycopg

    from services.pricing.bulk.compare import compare

    url = os.environ.get("PRICING_DATABASE_URL")
    if not url:
        print("pricing: comparing needs PRICING_DATABASE_URL: set it, or read it from .banyan/env", file=sys.stderr)
        return 1
    try:
        with psycopg.connect(url, connect_timeout=5, application_name="pricing-compare") as connection:
            connection.read_only = True
            print(msgspec.json.encode(compare(connection)).decode())
    except psycopg.Error as error:
        print(f"pricing: the database refused: {str(error).strip().splitlines()[0]}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(compare() if sys.argv[1:] == ["compare"] else main("pricing", Path(__file__).parent / "migrations"))
