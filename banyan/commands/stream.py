"""`banyan stream …`: what a person does about a stream that stands."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import click

from banyan.commands.asking import confirm, require_somebody
from banyan.commands.plan import opened
from banyan.commands.snapshot import StillReading
from cdc.environment import load_environment
from cdc.errors import CdcError
from cdc.kafka import commands as kafka
from cdc.options import file_of
from migration_plan.compile import DIRECTIONS


class _Group(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        """The commands of `python -m cdc` among them read the stack's variables, and fail in one line."""
        os.environ.update(load_environment())
        try:
            return super().invoke(ctx)
        except CdcError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Group)
def stream() -> None:
    """Resume a stream that a changed schema stopped; recover one whose slot was lost; move one to Kafka, or back."""


def _by_name(command: click.Command) -> click.Command:
    """The engine's command with the stream as its argument, as those beside it have the domain."""
    rest = [parameter for parameter in command.params if parameter.name != "path"]
    named = click.Argument(["path"], metavar="STREAM", callback=file_of)
    return click.Command(command.name, callback=command.callback, params=[named, *rest], help=command.help)


stream.add_command(_by_name(kafka.move))
stream.add_command(_by_name(kafka.connector))


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line."),
        click.option("--direction", type=click.Choice(DIRECTIONS), help="One of the two streams [default: both]."),
        click.option("--reason", required=True, help="Why; it is kept with what was done."),
        click.argument("domain"),
    ):
        command = option(command)
    return command


@stream.command()
@_options
def resume(domain: str, reason: str, direction: str | None, as_json: bool) -> None:
    """Let a domain's halted streams go on, from where they stand: nothing is skipped.

    Refused unless mapping and both schemas fit, and some rows of each table pass through both (they are rolled back).
    The running process reads the mapping anew and goes on by itself.
    """
    from migration_plan.verbs.streams import resume as resume_streams

    with opened() as context:
        _show(resume_streams(context, domain, reason, _directions(direction)), as_json)


@stream.command()
@_options
@click.option("--force", is_flag=True, help="Also when nothing is wrong with slot and position.")
@click.option("--no-wait", is_flag=True, help="Do not wait until all is read: `banyan status` shows how far it is.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def recover(
    domain: str, reason: str, direction: str | None, as_json: bool, force: bool, no_wait: bool, yes: bool
) -> None:
    """Make good a slot that was lost, recreated or advanced: a new one, and the rows that the old one did not bring.

    Refused where that would overwrite writes that only the target has. A running process is put aside for a moment;
    then it streams from the new slot, and reads all tables again beside it, which is waited for. Ctrl-C ends the
    waiting, not the reading.
    """
    from cdc.snapshot.show import bars
    from migration_plan.verbs.streams import recover as recover_streams

    if not yes:
        require_somebody()
        confirm(f"fill again what the broken streams of {domain} did not bring?")
    with opened() as context:
        follow = None if no_wait else partial(bars, quiet=as_json)
        try:
            done = recover_streams(context, domain, reason, _directions(direction), force=force, follow=follow)
        except KeyboardInterrupt as error:
            raise StillReading from error
        _show(done, as_json)


def _directions(direction: str | None) -> tuple[str, ...]:
    return DIRECTIONS if direction is None else (direction,)


def _show(done: Any, as_json: bool) -> None:
    for line in done.lines:
        click.echo(line, err=as_json)
    if as_json:
        click.echo(done.to_json().decode())
