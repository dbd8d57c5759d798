"""The variables that a command works with: its own, else those that the local stack wrote to `.banyan/env`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def load_environment(own: Mapping[str, str] | None = None) -> dict[str, str]:
    """`own` (default: os.environ) over the lines `KEY=VALUE` of `$BANYAN_HOME/env`, else of `./.banyan/env`."""
    given = dict(os.environ if own is None else own)
    file = Path(given.get("BANYAN_HOME") or ".banyan") / "env"
    return {**read_lines(file), **{name: value for name, value in given.items() if value}}


def read_lines(file: Path) -> dict[str, str]:
    """The assignments in `file`; none when there is no such file."""
    if not file.is_file():
        return {}
    lines = (line.strip() for line in file.read_text().splitlines())
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {name.strip(): value for name, value in pairs}
