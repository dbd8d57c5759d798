"""The variables that a command works with: its own, else those that the local stack wrote to `.banyan/env`."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping
from pathlib import Path


def load_environment(own: Mapping[str, str] | None = None) -> dict[str, str]:
    """`own` (default: os.environ) over the lines `KEY=VALUE` of `$BANYAN_HOME/env`, else of `./.banyan/env`.

    BANYAN_HOME is always among them, as an absolute path.
    """
    given = dict(os.environ if own is None else own)
    folder = home(given)
    lines = read_lines(folder / "env")
    return {**lines, **{name: value for name, value in given.items() if value}, "BANYAN_HOME": str(folder)}


def home(env: Mapping[str, str]) -> Path:
    """The local stack's folder."""
    return Path(env.get("BANYAN_HOME") or ".banyan").resolve()


def acting(env: Mapping[str, str] | None = None) -> str:
    """Who acts: BANYAN_ACTOR, else user@host."""
    known = os.environ if env is None else env
    return known.get("BANYAN_ACTOR") or f"{getpass.getuser()}@{socket.gethostname()}"


def read_lines(file: Path) -> dict[str, str]:
    """The assignments in `file`; none when there is no such file."""
    if not file.is_file():
        return {}
    lines = (line.strip() for line in file.read_text().splitlines())
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {name.strip(): value for name, value in pairs}


def missing(name: str, env: Mapping[str, str]) -> str:
    """What to tell a person who needs the variable `name`: where it was looked for, and what helps."""
    file = home(env) / "env"
    if file.is_file():
        return f"{name} is not set: start the stack with `banyan up` (it writes {file}, which lacks it), or set it"
    return (
        f"{name} is not set: start the stack with `banyan up`, or set BANYAN_HOME to the folder of one that runs"
        f" (there is no {file})"
    )
