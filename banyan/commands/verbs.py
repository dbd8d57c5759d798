"""`banyan preflight | shadow | canary | abort | complete`: the verbs beside `advance`, `switch` and `rollback`."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from banyan.commands import plan_views as views
from banyan.commands.asking import require_somebody
from banyan.commands.plan import Interrupted, change_options, opened, run_step, step_options
from migration_plan import verbs
from migration_plan.errors import Refused
from migration_plan.verbs import Result


@click.command()
@click.argument("domain")
@click.option("--wave", type=click.IntRange(0), help="Which wave, in a domain with several.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def preflight(domain: str, wave: int | None, as_json: bool) -> None:
    """Measure every gate of a domain's next step, and of the one that moves its writes; do nothing.

    Exit code 0 when nothing stands in the way of either, 1 when something does.
    """
    with opened() as context:
        found = verbs.preflight(context, domain, wave)
    if as_json:
        click.echo(found.to_json().decode())
    else:
        for result in found.steps:
            views.show_look(result)
        views.out.print(escape(found.message), style="" if found.ready else "red", soft_wrap=True)
    if not found.ready:
        sys.exit(Refused.exit_code)


@click.command()
@click.argument("domain")
@step_options
def shadow(domain: str, **options: Any) -> None:
    """Let a domain's service answer copies of the reads, to compare; clients get the monolith's answers.

    `banyan differences` shows what came of it.
    """
    run_step(verbs.shadow, domain, {}, **options)


@click.command()
@click.argument("domain")
@click.argument("percent", type=click.IntRange(1, 100))
@step_options
def canary(domain: str, percent: int, **options: Any) -> None:
    """Let the service answer PERCENT of a domain's reads, more than now."""
    run_step(verbs.canary, domain, {"percent": percent}, **options)


@click.command()
@click.argument("domain")
@click.option("--wave", type=click.IntRange(0), help="Which wave, in a domain with several.")
@change_options
def abort(domain: str, **options: Any) -> None:
    """End a half-done step backwards: of a controller that died, say. Past the point of no return it refuses, and says
    which command ends it forward."""
    run_step(verbs.abort, domain, {}, **options)


@click.command()
@click.argument("domain")
@click.option("--accept-readers", is_flag=True, help="What the monolith still reads stays, and is fed.")
@click.option(
    "--source", type=click.Path(path_type=Path, file_okay=False), help="The monolith's code [default: the plan's]."
)
@click.option("--confirm", "named", metavar="DOMAIN", help="The domain's name once more, where nobody can type it.")
@click.option("--force-gate", "forced", multiple=True, metavar="NAME", help="Go on although this gate does not pass.")
@change_options
def complete(
    domain: str,
    accept_readers: bool,
    source: Path | None,
    named: str | None,
    forced: tuple[str, ...],
    reason: str | None,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Retire a domain at the monolith, for good: there is no way back, so its name is asked for.

    No fallback to the monolith; reverse stream and slot are dropped, its tables get the suffix `_retired`. Refused
    while something at the monolith still touches them, unless --accept-readers: then they stay, and are fed as before.
    """
    if named is None and not dry_run:
        if yes:
            raise click.UsageError(f"there is no way back: say it once more with --confirm {domain}")
        require_somebody()
    if named is not None and named != domain:
        raise click.UsageError(f"--confirm says {named!r}, and the domain is {domain!r}: nothing was changed")
    with opened() as context:
        step = functools.partial(
            verbs.complete,
            context,
            domain,
            accept_readers=accept_readers,
            source=source,
            forced=forced,
            reason=reason,
        )
        if named is None and not dry_run:
            _ask_for_the_name(step(dry_run=True))
        try:
            with views.verify_progress(quiet=as_json) as progress:
                result = step(dry_run=dry_run, progress=progress, say=_silent if as_json else _tell)
        except KeyboardInterrupt as error:
            raise Interrupted(domain) from error
    views.end(result, as_json=as_json)


def _ask_for_the_name(preview: Result) -> None:
    if preview.before == preview.after:
        return
    views.show_look(preview, views.err)
    if preview.refusal:
        sys.exit(Refused.exit_code)
    typed = click.prompt(f"there is no way back; type the domain's name to retire {preview.domain}", err=True)
    if typed.strip() != preview.domain:
        raise click.Abort


def _tell(step: str) -> None:
    views.err.print(f"[dim]{escape(step)}[/]", soft_wrap=True)


def _silent(step: str) -> None:
    """The answer is one JSON object."""
