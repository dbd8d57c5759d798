"""Where in a TOML file a key stands: for messages only, so what it cannot place has no line."""

from __future__ import annotations

import re

_TABLE = re.compile(r"\s*\[\s*([A-Za-z0-9_.-]+)\s*\]")
_KEY = re.compile(r"\s*([A-Za-z0-9_.-]+|\"[^\"]*\")\s*=")


def key_lines(text: str) -> dict[str, int]:
    """Dotted name → line, from 1; tables too. Inside strings of several lines nothing is looked for."""
    found: dict[str, int] = {}
    table, fence = "", None
    for number, line in enumerate(text.splitlines(), 1):
        if fence is not None:
            fence = None if fence in line else fence
            continue
        if match := _TABLE.match(line):
            table = match[1] + "."
            found.setdefault(match[1], number)
        elif match := _KEY.match(line):
            found.setdefault(table + match[1].strip('"'), number)
            opened = next((q for q in ('"""', "'''") if line.count(q) == 1), None)
            fence = opened
    return found
