"""The verbs of a migration: status, prepare, advance, switch, rollback, history, plan."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click
import msgspec

from banyan.commands import plan_views as views
from banyan.commands.asking import confirm, require_somebody
from banyan.commands.status_views import show_status
from banyan.environment import load_environment
from migration_plan import compile as compiling
from migration_plan import plan as plans
from migration_plan import status as statuses
from migration_plan.context import Context
from migration_plan.errors import NameUnknown, NotConfigured, NotPrepared, PlanError, PlanInvalid, Refused, Unreachable
from migration_plan.ledger import Row
from migration_plan.verbs import Prepared, Result
from migration_plan.verbs import advance as advance_wave
from migration_plan.verbs import prepare as prepare_domains
from migration_plan.verbs import publish as publish_plan
from migration_plan.verbs import rollback as rollback_wave
from migration_plan.verbs import switch as switch_wave

#: `status` shows less than there is, or a stream that cannot go on.
PART_AWAY = 3

P = ParamSpec("P")
R = TypeVar("R")


class Failure(click.ClickException):
    """One line that says what and what to do, with the exit code of its kind."""

    def __init__(self, error: PlanError) -> None:
        super().__init__(str(error))
        self.exit_code = error.exit_code  # type: ignore[misc]

    def show(self, file: Any = None) -> None:
        for line in self.message.splitlines():
            click.echo(f"error: {line}", err=True)


class Interrupted(click.ClickException):
    """Ctrl-C in a step: before the point of no return it was taken back, after it the writes have moved."""

    exit_code = 130

    def __init__(self, domain: str) -> None:
        super().__init__(f"interrupted: `banyan status` says where {domain} stands; the command may be run again")


@contextlib.contextmanager
def opened() -> Iterator[Context]:
    """The plan's context; what goes wrong becomes a line on stderr."""
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # it tells of each rollback that a Ctrl-C cut short
    try:
        with Context.from_env(load_environment()) as context:
            yield context
    except PlanError as error:
        raise Failure(error) from error


def step_options(command: Callable[P, R]) -> Callable[P, R]:
    """What a step of a wave takes besides."""
    options = [
        click.option("--wave", type=click.IntRange(0), help="Which wave, in a domain with several."),
        click.option(
            "--force-gate",
            "forced",
            multiple=True,
            metavar="NAME",
            help="Go on although this gate does not pass; may be said for several.",
        ),
    ]
    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(options), change_options(command))


def change_options(command: Callable[P, R]) -> Callable[P, R]:
    """What every command that changes something takes."""
    looking = "Say what would be done and what would stop it, with the exit code that it would have; change nothing."
    options = [
        click.option("--reason", help="Why; it is kept with what was done."),
        click.option("--yes", is_flag=True, help="Do not ask."),
        click.option("--dry-run", is_flag=True, help=looking),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line."),
    ]
    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(options), command)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(as_json: bool) -> None:
    """Show where every domain stands.

    Exit code 1 when nothing answers; 3 when a part is away (what it knows is shown as unknown), or a stream cannot go
    on because its slot is gone (the command that helps is shown).
    """
    with opened() as context:
        found = statuses.read(context)
        if as_json:
            click.echo(found.to_json().decode())
        if not found.answered:
            raise found.nothing()
    if not as_json:
        show_status(found, views.out, views.err)
    if not found.complete:
        sys.exit(PART_AWAY)


@click.command()
@click.argument("domain", required=False)
@click.option("--all", "every", is_flag=True, help="All domains of the plan.")
@click.option(
    "--remake-reverse", is_flag=True, help="Drop the reverse stream first: its slot was lost. While legacy owns all."
)
@change_options
def prepare(
    domain: str | None, every: bool, remake_reverse: bool, reason: str | None, yes: bool, dry_run: bool, as_json: bool
) -> None:
    """Install guards, publications and slots for a domain. May be run again: what is in place stays.

    Nothing moves by it, so it asks on a terminal only.
    """
    if (domain is None) == (not every):
        raise click.UsageError("name a domain, or say --all")
    with opened() as context:
        step = functools.partial(
            prepare_domains,
            context,
            list(context.plan.domains) if every else [domain or ""],
            (lambda part: None) if as_json else views.show_part,
            reason=reason,
            remake_reverse=remake_reverse,
        )
        if sys.stdin.isatty() and not yes and not dry_run:
            _ask_to_prepare(step(dry_run=True))
        result = step(dry_run=dry_run)
    if as_json:
        click.echo(result.to_json().decode())
    elif dry_run:
        views.show_prepared(result)


def _ask_to_prepare(preview: Prepared) -> None:
    if any(part.state == "missing" for part in preview.parts):
        views.show_prepared(preview, views.err)
        confirm("make what is missing?")


@click.command()
@click.argument("domain")
@click.option("--to", metavar="PHASE|PCT", help="A phase, or a percentage of the reads [default: the next station].")
@step_options
def advance(domain: str, to: str | None, **options: Any) -> None:
    """Take a domain one phase forward (shadow, canary)."""
    run_step(advance_wave, domain, {"to": to}, **options)


@click.command()
@click.argument("domain")
@step_options
def switch(domain: str, **options: Any) -> None:
    """Move a domain's writes to its service."""
    run_step(switch_wave, domain, {}, **options)


@click.command()
@click.argument("domain")
@click.option("--to", metavar="PHASE|PCT", help="How far back [default: one phase].")
@step_options
def rollback(domain: str, to: str | None, **options: Any) -> None:
    """Take a domain one step back."""
    run_step(rollback_wave, domain, {"to": to}, **options)


def run_step(
    verb: Callable[..., Result],
    domain: str,
    more: dict[str, Any],
    *,
    yes: bool,
    dry_run: bool,
    as_json: bool,
    **common: Any,
) -> None:
    if not dry_run and not yes:
        require_somebody()
    with opened() as context:
        step = functools.partial(verb, context, domain, **more, **common)
        if not dry_run and not yes:
            _ask(step(dry_run=True))
        try:
            with views.verify_progress(quiet=as_json) as progress:
                result = step(dry_run=dry_run, progress=progress, hook=views.live_steps(quiet=as_json))
        except KeyboardInterrupt as error:
            raise Interrupted(domain) from error
    views.end(result, as_json=as_json)


def _ask(preview: Result) -> None:
    """Show what would be done on stderr, and go on only if somebody says so."""
    if preview.before == preview.after:
        return
    views.show_look(preview, views.err)
    if preview.refusal:
        sys.exit(Refused.exit_code)
    confirm(f"{preview.verb} {preview.domain}: {preview.before} → {preview.after}?")


@click.command()
@click.argument("domain", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--check", is_flag=True, help="Verify the hash chain; exit code 1 when it is broken.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="So many of the newest.")
def history(domain: str | None, as_json: bool, check: bool, limit: int) -> None:
    """Show the ledger, newest last."""
    with opened() as context:
        if domain is not None:
            context.plan.domain(domain)
        rows = context.ledger().history(domain, limit=limit)
        checked = context.ledger().check() if check else None
    if as_json:
        for row in rows:
            click.echo(json.dumps(_plain(row)))
    elif not check:
        views.show_history(rows)
    if checked is not None:
        click.echo(
            f"the chain of {checked.rows} rows holds"
            if checked.holds
            else f"error: the ledger is broken: {checked.why}",
            err=not checked.holds,
        )
        if not checked.holds:
            sys.exit(1)


def _plain(row: Row) -> dict[str, Any]:
    values: dict[str, Any] = msgspec.to_builtins(row)
    return {**values.pop("entry"), **values}


@click.group()
def plan() -> None:
    """Lint, show, compare, draw, compile and publish the plan."""


@plan.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
def lint(file: Path | None) -> None:
    """Check the plan and its mappings; every problem with its line."""
    try:
        found = plans.load(file or _plan_file())
    except PlanInvalid as error:
        for problem in error.problems:
            click.echo(problem, err=True)
        sys.exit(1)
    click.echo(
        f"{found.path.name}: {len(found.domains)} domains,"
        f" {sum(len(d.operations) for d in found.domains.values())} operations, no problem"
    )


@plan.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(as_json: bool) -> None:
    """Print the plan as it is understood, defaults filled in."""
    with opened() as context:
        values = msgspec.to_builtins(context.plan, enc_hook=str)
    if as_json:
        click.echo(json.dumps(values))
        return
    views.show_plan(context.plan)


@plan.command("compile", short_help="Write the stream files and the first route table.")
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for the files.")
@click.option("--dry-run", is_flag=True, help="Say which files would be new, changed or equal; write nothing.")
def compile_(out: Path, dry_run: bool) -> None:
    """Write the stream files (`pricing.forward.json`, …) and the first route table (`table.json`)."""
    with opened() as context:
        streams = compiling.compile_streams(context.plan, context.env)
        table = compiling.compile_table(context.plan, *known(context), 1, context.env)
    files = {out / f"{name}.json": f"{json.dumps(stream, indent=1)}\n".encode() for name, stream in streams.items()}
    files[out / "table.json"] = compiling.encode_table(table) + b"\n"
    try:
        if dry_run:
            views.show_files({path: _state(path, content) for path, content in files.items()})
            return
        out.mkdir(parents=True, exist_ok=True)
        for path, content in files.items():
            path.write_bytes(content)
    except OSError as error:
        raise click.FileError(str(error.filename or out), error.strerror) from error
    click.echo(f"{len(streams)} streams and the route table are in {out}")


def _state(path: Path, content: bytes) -> str:
    return "new" if not path.exists() else "equal" if path.read_bytes() == content else "changed"


@plan.command(short_help="Bring the plan to the running gateway; moves nothing.")
@change_options
def publish(reason: str | None, yes: bool, dry_run: bool, as_json: bool) -> None:
    """Bring the plan's routes, facade, auth and policies to the running gateway. Moves nothing; may be run again.

    Owners, epochs and phases are those of the ledger. The reason is kept in the gateway's audit.
    """
    if not dry_run and not yes:
        require_somebody()
    with opened() as context:
        if not dry_run and not yes:
            preview = publish_plan(context, reason, dry_run=True)
            if preview.parts:
                views.show_published(preview, views.err)
                confirm("publish it?")
        result = publish_plan(context, reason, dry_run=dry_run)
    if as_json:
        click.echo(result.to_json().decode())
    else:
        views.show_published(result)


def known(context: Context) -> tuple[compiling.Ownership, compiling.Phases]:
    """What the ledger knows; before `prepare`, everything is at legacy."""
    try:
        states = context.ledger().states()
    except (NotConfigured, NotPrepared, Unreachable):
        return {}, {}
    return {key: (s.owner, s.epoch) for key, s in states.items()}, {key: s.stand for key, s in states.items()}  # type: ignore[misc]


def _plan_file() -> Path | None:
    named = load_environment().get("BANYAN_PLAN")
    return Path(named) if named else None


__all__ = ["NameUnknown", "advance", "history", "plan", "prepare", "rollback", "status", "switch"]
