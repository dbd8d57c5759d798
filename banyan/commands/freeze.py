"""`banyan freeze`, `banyan unfreeze`: whether a domain may go forward."""

from __future__ import annotations

from collections.abc import Callable

import click

from banyan.commands.asking import confirm, require_somebody
from banyan.commands.plan import change_options, opened
from migration_plan.verbs import Marked
from migration_plan.verbs import freeze as freeze_domain
from migration_plan.verbs import unfreeze as unfreeze_domain


@click.command()
@click.argument("domain")
@change_options
def freeze(domain: str, reason: str | None, yes: bool, dry_run: bool, as_json: bool) -> None:
    """Refuse every step forward of a domain, whoever takes it, until `banyan unfreeze`.

    It goes back as ever. Who is past the gates of a step already ends it. May be run again.
    """
    _mark(freeze_domain, domain, reason, yes, dry_run, as_json)


@click.command()
@click.argument("domain")
@change_options
def unfreeze(domain: str, reason: str | None, yes: bool, dry_run: bool, as_json: bool) -> None:
    """Let a frozen domain go forward again, through its gates. May be run again."""
    _mark(unfreeze_domain, domain, reason, yes, dry_run, as_json)


def _mark(
    verb: Callable[..., Marked], domain: str, reason: str | None, yes: bool, dry_run: bool, as_json: bool
) -> None:
    if not dry_run and not yes:
        require_somebody()
    with opened() as context:
        if not dry_run and not yes:
            preview = verb(context, domain, reason, dry_run=True)
            click.echo(preview.message, err=True)
            if preview.steps:
                confirm(f"{preview.verb} {domain}?")
        result = verb(context, domain, reason, dry_run=dry_run)
    if as_json:
        click.echo(result.to_json().decode())
        return
    click.echo(result.message)
    for step in result.steps:
        click.echo(f"  {step}")
