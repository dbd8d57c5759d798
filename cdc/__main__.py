"""`python -m cdc`: run a stream, ask for its state, fill it again, look after parked keys."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import structlog

from cdc import interpreter, logs, streams
from cdc.apply.route import DomainMapping, routes
from cdc.beacon import Heartbeat, Tables
from cdc.commands.parked import parked
from cdc.commands.resnapshot import resnapshot
from cdc.config import Stream, dsn, load_mapping, load_stream
from cdc.environment import acting, load_environment
from cdc.errors import CdcError
from cdc.foreign import foreign_writes, settle_foreign_writes
from cdc.health import serve
from cdc.kafka import commands as kafka_commands
from cdc.kafka import halves
from cdc.options import stream_option
from cdc.orphans import Watch as Orphanage
from cdc.orphans import find as find_orphans
from cdc.recover import recover as recover_stream
from cdc.runner import Runner
from cdc.schema.resume import resume as resume_stream
from cdc.snapshot.progress import Progress
from cdc.status import Status
from cdc.verify.command import verify_loop

# A batch that the target has not taken this long after SIGTERM is rolled back, seconds.
GRACE = 8.0


class _Group(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        """One line for a person, exit code 1."""
        try:
            return super().invoke(ctx)
        except CdcError as e:
            raise click.ClickException(str(e)) from e


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Change data capture of one domain in one direction.

    Variables that are not set are read from $BANYAN_HOME/env, else from ./.banyan/env, as `banyan` does.
    """
    logs.to_stderr()


@main.command()
@stream_option
def run(path: Path) -> None:
    """Fill the target if it is new, then stream until SIGTERM."""
    stream, runner = _runner(path, lambda: halves.Process(path))
    redis_url = _redis_url(stream)
    health = serve(stream.listen, runner.status)
    interpreter.suit()
    # Blocked before any thread starts, so that every thread inherits it and only asked_to_end below sees the signals.
    signal.pthread_sigmask(signal.SIG_BLOCK, interpreter.ENDING)
    structlog.get_logger("cdc").info("started", stream=stream.name, listen=health.url)
    stop = threading.Event()
    failure: list[BaseException] = []

    def work() -> None:
        try:
            runner.run(stop)
        except BaseException as e:
            failure.append(e)

    worker = threading.Thread(target=work, name="apply", daemon=True)
    worker.start()
    tables = Tables(routes(load_mapping(stream, path), stream.direction), stream.publication)
    Heartbeat(dsn(stream.source_dsn_env), stream.slot, runner.status, stop, tables).start()
    Orphanage(dsn(stream.target_dsn_env), _targets(stream, path), runner.status, stop).start()
    if redis_url is not None:
        from cdc.publisher import Publisher  # Redis's client, which no other command needs

        Publisher(redis_url, runner.status, stop).start()
    while worker.is_alive():
        if interpreter.asked_to_end(0.2):
            stop.set()
            break
    worker.join(GRACE)
    if worker.is_alive():
        runner.cancel()
        worker.join(2)
    stop.set()
    health.close()
    if failure:
        raise failure[0]


@main.command()
@stream_option
def status(path: Path) -> None:
    """Where the stream stands, from the target's own record."""
    stream = load_stream(path)
    position = streams.position(dsn(stream.target_dsn_env), stream.name)
    click.echo(json.dumps({"stream": stream.name, **asdict(position)}, default=str))


@main.command()
@stream_option
def orphans(path: Path) -> None:
    """Rows at the target whose parent is missing: one JSON object a foreign key; exit code 1 when there are some."""
    stream = load_stream(path)
    found = find_orphans(dsn(stream.target_dsn_env), _targets(stream, path))
    for one in found:
        click.echo(json.dumps(asdict(one)))
    if found:
        raise click.exceptions.Exit(1)
    click.echo("every row has its parent", err=True)


@main.command()
@stream_option
@click.option("--take-over", is_flag=True, help="A running process of the stream waits until the fill is done.")
def snapshot(path: Path, take_over: bool) -> None:
    """Fill the target again, from a new slot. The stream must not run, or give way (--take-over)."""
    _, runner = _runner(path)
    with _shown(lambda: runner.status.snapshot):
        filled = runner.snapshot(threading.Event(), take_over=take_over)
    click.echo(f"{filled.rows} rows in {filled.seconds:.2f} s, {filled.rows_per_s:,.0f} rows/s")
    if not filled.whole:
        click.echo("its slot kept too much WAL: the stream, once it runs, reads the rest", err=True)


def _shown(progress: Callable[[], Progress | None]) -> AbstractContextManager[None]:
    try:
        from cdc.snapshot.show import following
    except ImportError:  # the stream's own image has no rich
        return nullcontext()
    return following(progress)


def _why(command: Callable[..., None]) -> Callable[..., None]:
    command = click.option("--actor", default=None, help="Who does it; default: BANYAN_ACTOR, or user@host.")(command)
    return click.option("--reason", required=True, help="Why; it is kept beside what was done.")(command)


@main.command()
@stream_option
@_why
def resume(path: Path, reason: str, actor: str | None) -> None:
    """Let a stream go on that a changed schema stopped: when mapping and both schemas fit, and some rows pass."""
    stream = load_stream(path)
    ends = dsn(stream.source_dsn_env), dsn(stream.target_dsn_env)
    click.echo(resume_stream(stream, load_mapping(stream, path), *ends, actor or acting(), reason))


@main.command()
@stream_option
@_why
@click.option("--force", is_flag=True, help="Also when nothing is wrong with the slot.")
def recover(path: Path, reason: str, actor: str | None, force: bool) -> None:
    """Make a lost, recreated or advanced slot good again: a new one, and the rows that it would have brought."""
    stream, runner = _runner(path)
    click.echo(recover_stream(runner, dsn(stream.source_dsn_env), actor or acting(), reason, force=force))


@main.group()
def foreign() -> None:
    """Commits by somebody who does not own what was written."""


@foreign.command("list")
@stream_option
def foreign_list(path: Path) -> None:
    """One JSON object a line: those that nobody has settled."""
    stream = load_stream(path)
    for found in foreign_writes([dsn(stream.target_dsn_env), dsn(stream.source_dsn_env)], stream.name):
        click.echo(json.dumps(found, default=str))


@foreign.command("settle")
@stream_option
def foreign_settle(path: Path) -> None:
    """End the alarm of this stream's foreign commits. What they wrote stays: `banyan verify DOMAIN --repair`."""
    stream = load_stream(path)
    ends = [dsn(stream.target_dsn_env), dsn(stream.source_dsn_env)]
    click.echo(f"{settle_foreign_writes(ends, stream.name, acting(os.environ))} foreign commits settled")


@main.command()
@stream_option
def refill(path: Path) -> None:
    """Make a new slot, and let the stream read everything again beside it. A running process gives way and goes on.

    Unlike `snapshot` nobody waits for it; what is parked stays until its row is read again.
    """
    stream, runner = _runner(path)
    with runner.alone() as target:
        runner.refill(target)
    click.echo(f"the slot of {stream.name} is new: all tables are read again when the stream runs")


main.add_command(resnapshot)
main.add_command(parked)
main.add_command(kafka_commands.relay)
main.add_command(kafka_commands.consume)
main.add_command(kafka_commands.move)
main.add_command(kafka_commands.connector)


def _runner(path: Path, relay: halves.Start | None = None) -> tuple[Stream, Runner]:
    stream = load_stream(path)
    mapping = load_mapping(stream, path)
    ends = dsn(stream.source_dsn_env), dsn(stream.target_dsn_env)

    def reload() -> tuple[Stream, DomainMapping]:
        again = load_stream(path)
        return again, load_mapping(again, path)

    return stream, Runner(stream, mapping, *ends, Status(stream.name), reload, relay)


def _targets(stream: Stream, path: Path) -> list[str]:
    return sorted({route.target for route in routes(load_mapping(stream, path), stream.direction).every()})


def _redis_url(stream: Stream) -> str | None:
    return dsn(stream.redis_url_env) if stream.redis_url_env else None


main.add_command(verify_loop)


if __name__ == "__main__":
    os.environ.update(load_environment())
    main()
