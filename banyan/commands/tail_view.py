"""How a live decision looks: one line, aligned and coloured on a terminal, plain and whole in a pipe."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rich.text import Text

_STATUS_STYLES = {0: "dim", 2: "green", 3: "cyan", 4: "yellow", 5: "bold red"}
_SIDE_STYLES = {"legacy": "blue", "service": "magenta"}
_PATH, _WIDEST = 32, 60  # characters of a path's column
_REST = 104  # of all others, roughly


def printable(text: str) -> str:
    """Paths come from anywhere: what a terminal would take for a command is shown, not sent."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def row(line: dict[str, Any], width: int | None = None) -> Text:
    """Of a line of the access log. `width`: of the terminal, for which the path is cut; None: nothing is."""
    status, side, attempts = line["status"], line["side"], line["attempts"]
    path = printable(line["path"])
    before = Text.assemble(
        (datetime.fromtimestamp(line["at"]).strftime("%H:%M:%S.%f")[:-3], "dim"),  # noqa: DTZ006 - of whoever looks
        f"  {line['method']:<7} ",
    )
    after = Text.assemble(
        "  ",
        (f"{status}" if status else "left", _STATUS_STYLES.get(status // 100, "")),
        (" " * (status > 0) + f" {line['ms']:>8.1f} ms"),
        f"  {line['domain']:<13} ",
        (f"{side:<7}", _SIDE_STYLES.get(side, "")),
        f"  {printable(line['reason']):<10} ",
        (f"  {line['upstream'] or '–'}", "dim"),
        (f"  ×{attempts}" if attempts > 1 else "", "yellow"),
    )
    room = _PATH if width is None else min(max(_PATH, width - _REST), _WIDEST)
    if width is not None and len(path) > room:
        path = path[: room - 1] + "…"
    return before + Text(path.ljust(room)) + after


def summary(shown: int, failed: int, dropped: int, seconds: float) -> str:
    parts = [f"{shown} request{'s' * (shown != 1)} in {seconds:.1f} s"]
    if failed:
        parts.append(f"{failed} failed")
    if dropped:
        parts.append(f"{dropped} not shown, too many at once (filter, or --sample)")
    return "; ".join(parts)
