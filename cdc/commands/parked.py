"""`python -m cdc parked`: look after keys whose changes the target refused."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from cdc import parking
from cdc.config import load_mapping, load_stream
from cdc.options import stream_option


@click.group()
def parked() -> None:
    """Keys whose changes the target refused."""


@parked.command("list")
@stream_option
def parked_list(path: Path) -> None:
    """One JSON object a line and key."""
    keys = parking.listed(load_stream(path))
    for key in keys:
        click.echo(json.dumps(asdict(key), default=str))
    if not keys:
        click.echo("no key is parked", err=True)


@parked.command("replay")
@stream_option
@click.option("--table", default=None, help="Only keys of this source table.")
@click.option("--key", default=None, help='Only this key, as listed: "[5]".')
def parked_replay(path: Path, table: str | None, key: str | None) -> None:
    """Apply the waiting changes in order; what is refused again, or is older than what the target owns, stays.

    Exit code 1 when keys are still parked.
    """
    stream = load_stream(path)
    done, left = parking.replay(stream, load_mapping(stream, path), table, key)
    click.echo(f"{done} keys free, {left} still parked")
    if left:
        raise click.exceptions.Exit(1)


@parked.command("discard")
@stream_option
@click.option("--table", required=True, help="Source table.")
@click.option("--key", required=True, help='The key, as listed: "[5]".')
def parked_discard(path: Path, table: str, key: str) -> None:
    """Give a key's waiting changes up. Verify then shows how its sides differ."""
    click.echo(f"{parking.discard(load_stream(path), table, key)} changes discarded")
