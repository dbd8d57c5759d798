"""`python -m cdc resnapshot`: read rows again while the stream runs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from cdc.config import dsn, load_mapping, load_stream
from cdc.errors import ConfigError
from cdc.options import stream_option
from cdc.snapshot import ask as asking
from cdc.snapshot.requests import Request, summary


@click.command()
@stream_option
@click.option("--table", "tables", multiple=True, help="Source table; several times for several [default: all].")
@click.option("--from", "first", metavar="KEY", help='First key of a range: 5, or ["a", 5] for several columns.')
@click.option("--to", "last", metavar="KEY", help="Last key of a range.")
@click.option("--keys", metavar="KEY,KEY…", help='Single keys: 5,7, or [["a", 5], ["b", 7]].')
@click.option("--rows-per-s", type=click.IntRange(1), help="Read no faster than this.")
@click.option("--dry-run", is_flag=True, help="Say what would be read; ask for nothing.")
@click.option("--no-wait", is_flag=True, help="Do not wait until it is done.")
@click.option("--cancel", is_flag=True, help="End what is open instead; what was repaired stays so.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")
def resnapshot(
    path: Path,
    tables: tuple[str, ...],
    first: str | None,
    last: str | None,
    keys: str | None,
    rows_per_s: int | None,
    dry_run: bool,
    no_wait: bool,
    cancel: bool,
    as_json: bool,
) -> None:
    """Read rows again while the stream runs, and repair what the target has of them. Loses no write made meanwhile."""
    stream = load_stream(path)
    dsns = dsn(stream.source_dsn_env), dsn(stream.target_dsn_env)
    if cancel:
        click.echo(f"{asking.cancel(stream, dsns[1])} requests ended")
        return
    scope = asking.scope_of(first, last, keys)
    mapping = load_mapping(stream, path)
    asked = asking.ask(stream, mapping, dsns, tables, scope, rows_per_s=rows_per_s, dry_run=dry_run)
    ids = [item.id for item in asked if item.id is not None]
    try:
        done = [] if dry_run or no_wait else _follow(asking.watch(stream, dsns[1], ids, time.sleep), quiet=as_json)
    except KeyboardInterrupt as e:
        raise click.ClickException("interrupted: the stream goes on reading; --cancel ends it") from e
    if as_json:
        parts = {"asked": [asdict(item) for item in asked], "done": [asdict(request) for request in done]}
        click.echo(json.dumps(parts, default=str))
    elif not done:
        for item in asked:
            click.echo(f"{item.table}: about {item.rows:,} rows into {item.target}")
    if not (dry_run or no_wait) and len(done) < len(ids):
        raise ConfigError("a request is gone: the stream was filled anew meanwhile")
    if any(request.state != "done" for request in done):
        raise click.exceptions.Exit(1)


def _follow(states: Iterator[list[Request]], quiet: bool) -> list[Request]:
    try:
        from cdc.snapshot.show import bars
    except ImportError:  # the stream's own image has no rich
        *_, found = states
    else:
        found = bars(states, quiet)
    for request in () if quiet else found:
        click.echo(summary(request))
    return found
