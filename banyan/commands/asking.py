"""Asks whoever sits at the terminal before something is changed; where nobody does, one line says what helps."""

from __future__ import annotations

import sys
from typing import Any

import click


class NobodyToAsk(click.ClickException):
    """Nothing was changed: standard input is no terminal, and --yes was not said."""

    exit_code = 2

    def __init__(self, question: str = "") -> None:
        said = f"{question} Nobody" if question else "nobody"
        super().__init__(f"{said} can be asked here: say --yes, or look first with --dry-run")

    def show(self, file: Any = None) -> None:
        click.echo(f"error: {self.message}", err=True)


def require_somebody(question: str = "") -> None:
    """Before anything is looked up or printed. Raises: NobodyToAsk."""
    if not sys.stdin.isatty():
        raise NobodyToAsk(question)


def confirm(question: str) -> None:
    """Raises: NobodyToAsk; click.Abort when the answer is no."""
    require_somebody(question)
    click.confirm(question, abort=True, err=True)
