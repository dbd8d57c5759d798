"""`python -m cdc`: run a stream, ask for its state, fill it again, look after parked keys."""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import structlog

from cdc import parking, streams
from cdc.beacon import Heartbeat, Publisher
from cdc.config import Stream, dsn, load_mapping, load_stream
from cdc.environment import home, load_environment
from cdc.errors import CdcError
from cdc.health import Health
from cdc.runner import Runner
from cdc.status import Status

# A batch that the target has not taken this long after SIGTERM is rolled back, seconds.
GRACE = 8.0


def _file(context: click.Context, parameter: click.Parameter, value: str) -> Path:
    """A stream's file, or by its name one that the local stack has written."""
    path, folder = Path(value), home(os.environ) / "streams"
    known = {file.stem: file for file in sorted(folder.glob("*.*.json"))}
    if path.exists():
        return path
    if not known:
        raise click.BadParameter(f"no file, and no stack has left streams in {folder}: set BANYAN_HOME, or name a file")
    if value not in known:
        raise click.BadParameter(f"no file, and no stream of that name in {folder}; there are: {', '.join(known)}")
    return known[value]


stream_option = click.option(
    "--stream",
    "path",
    required=True,
    metavar="NAME|FILE",
    callback=_file,
    help="A stream of the local stack, such as pricing.forward, or a stream's JSON file.",
)


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
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


@main.command()
@stream_option
def run(path: Path) -> None:
    """Fill the target if it is new, then stream until SIGTERM."""
    stream, runner = _runner(path)
    redis_url = _redis_url(stream)
    health = Health(stream.listen, runner.status)
    _spare_the_collector()
    # Blocked before any thread starts, so that every thread inherits it and only sigtimedwait below sees the signals.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
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
    Heartbeat(dsn(stream.source_dsn_env), stream.slot, runner.status, stop).start()
    if redis_url is not None:
        Publisher(redis_url, runner.status, stop).start()
    while worker.is_alive():
        if signal.sigtimedwait({signal.SIGTERM, signal.SIGINT}, 0.2) is not None:
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
@click.option("--take-over", is_flag=True, help="A running process of the stream waits until the fill is done.")
def snapshot(path: Path, take_over: bool) -> None:
    """Fill the target again, from a new slot. The stream must not run, or give way (--take-over)."""
    _, runner = _runner(path)
    filled = runner.snapshot(threading.Event(), take_over=take_over)
    click.echo(f"{filled.rows} rows in {filled.seconds:.2f} s, {filled.rows_per_s:,.0f} rows/s")


@main.group()
def parked() -> None:
    """Keys whose changes the target refused."""


@parked.command("list")
@stream_option
def parked_list(path: Path) -> None:
    """One JSON object a line and key."""
    keys = parking.listed(load_stream(path))
    for key in keys:
        click.echo(json.dumps(asdict(key), default=str))
    if not keys:
        click.echo("no key is parked", err=True)


@parked.command("replay")
@stream_option
@click.option("--table", default=None, help="Only keys of this source table.")
@click.option("--key", default=None, help='Only this key, as listed: "[5]".')
def parked_replay(path: Path, table: str | None, key: str | None) -> None:
    """Apply the waiting changes in order; what is refused again, or is older than what the target owns, stays.

    Exit code 1 when keys are still parked.
    """
    stream = load_stream(path)
    done, left = parking.replay(stream, load_mapping(stream, path), table, key)
    click.echo(f"{done} keys free, {left} still parked")
    if left:
        raise click.exceptions.Exit(1)


@parked.command("discard")
@stream_option
@click.option("--table", required=True, help="Source table.")
@click.option("--key", required=True, help='The key, as listed: "[5]".')
def parked_discard(path: Path, table: str, key: str) -> None:
    """Give a key's waiting changes up. Verify then shows how its sides differ."""
    click.echo(f"{parking.discard(load_stream(path), table, key)} changes discarded")


def _spare_the_collector() -> None:
    """Batches are many short-lived objects without cycles; the default thresholds walk them for nothing."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)


def _runner(path: Path) -> tuple[Stream, Runner]:
    stream = load_stream(path)
    mapping = load_mapping(stream, path)
    return stream, Runner(stream, mapping, dsn(stream.source_dsn_env), dsn(stream.target_dsn_env), Status(stream.name))


def _redis_url(stream: Stream) -> str | None:
    return dsn(stream.redis_url_env) if stream.redis_url_env else None


if __name__ == "__main__":
    os.environ.update(load_environment())
    main()
