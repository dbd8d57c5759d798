"""Options that several commands of `python -m cdc` share."""

from __future__ import annotations

import os
from pathlib import Path

import click

from cdc.environment import home


def file_of(context: click.Context, parameter: click.Parameter, value: str) -> Path:
    """A stream's file, or by its name one that the local stack has written."""
    path, folder = Path(value), home(os.environ) / "streams"
    known = {file.stem: file for file in sorted(folder.glob("*.*.json"))}
    if path.exists():
        return path
    if not known:
        raise click.BadParameter(f"no file, and no stack has left streams in {folder}: set BANYAN_HOME, or name a file")
    if value not in known:
        raise click.BadParameter(f"no file, and no stream of that name in {folder}; there are: {', '.join(known)}")
    return known[value]


stream_option = click.option(
    "--stream",
    "path",
    required=True,
    metavar="NAME|FILE",
    callback=file_of,
    help="A stream of the local stack, such as pricing.forward, or a stream's JSON file.",
)
