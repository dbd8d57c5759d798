"""`python -m cdc relay | consume | move`: the halves of a stream through Kafka, and changing the transport."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from pathlib import Path

import click

from cdc import interpreter
from cdc.apply.route import routes
from cdc.apply.session import connect
from cdc.beacon import Heartbeat
from cdc.change import lsn_text
from cdc.config import dsn, load_mapping, load_stream
from cdc.errors import CdcError, SchemaChanged, Transient
from cdc.kafka import halves, standing
from cdc.kafka.connector import registration
from cdc.kafka.settings import Transport
from cdc.options import stream_option
from cdc.runner import Runner
from cdc.status import Status

# A member of the group that was interrupted tries again after this, seconds.
PAUSE = 1.0


@click.command()
@stream_option
@click.option("--until-eof", is_flag=True, help="End when standard input does: what started this has ended.")
def relay(path: Path, until_eof: bool) -> None:
    """Only capture: from the source into Kafka's topics, until SIGTERM. `run` starts it by itself."""
    from cdc.kafka import run as running  # here and below: it imports the client library, which is slow

    stream = load_stream(path)
    source, target = dsn(stream.source_dsn_env), dsn(stream.target_dsn_env)
    mapping = load_mapping(stream, path)
    half = running.producer_of(stream, mapping, source, target)
    interpreter.suit()
    interpreter.share()
    stop = _stop_on_signals()
    if until_eof:
        threading.Thread(target=_wait_for_eof, args=(stop,), daemon=True).start()
    try:
        half.run(stop)
    except SchemaChanged as e:
        click.echo(halves.SCHEMA_CHANGED + json.dumps([str(e), e.side, e.table, e.lsn]), err=True)
        raise click.exceptions.Exit(1) from e


@click.command()
@stream_option
def consume(path: Path) -> None:
    """One more member of the stream's consumer group, beside `run`; up to the topics' number of partitions are
    useful."""
    from cdc.kafka import run as running

    stream = load_stream(path)
    target, mapping = dsn(stream.target_dsn_env), load_mapping(stream, path)
    stop = _stop_on_signals()
    while not stop.is_set():
        try:
            running.member(target, stream, routes(mapping, stream.direction), Status(stream.name), stop.is_set)
        except Transient as e:
            click.echo(f"interrupted: {e}", err=True)
            stop.wait(PAUSE)
        else:
            return


@click.command()
@stream_option
@click.option("--to", type=click.Choice(["direct", "kafka"]), required=True)
@click.option("--timeout", type=float, default=60.0, show_default=True, help="Seconds to wait for it.")
@click.option("--dry-run", is_flag=True, help="Say what would be done; change nothing.")
def move(path: Path, to: Transport, timeout: float, dry_run: bool) -> None:
    """Move the stream to the other transport, at an LSN: the one stops there, the other starts there.

    The running process does it; when none runs, this command does.
    """
    from cdc.kafka.move import foresee

    stream = load_stream(path)
    source, target_dsn, mapping = dsn(stream.source_dsn_env), dsn(stream.target_dsn_env), load_mapping(stream, path)
    with connect(target_dsn, f"banyan-cdc {stream.name} move") as target:
        found = standing.judge(target, stream.name, stream.kafka, to)
        if to == "kafka" and stream.kafka is not None:  # the stream is not interrupted for a Kafka that is away
            found += "; " + foresee(stream.kafka, stream.name, list(routes(mapping, stream.direction).by_source))
        if dry_run:
            click.echo(f"{found}; nothing was changed")
            return
        target.execute(f"LISTEN {standing.MOVED}".encode())
        if not standing.ask(target, stream.name, stream.kafka, to):
            click.echo(f"{stream.name} comes through {to} already")
            return
        stop, status = threading.Event(), Status(stream.name)
        runner = Runner(stream, mapping, source, target_dsn, status)
        failure: list[BaseException] = []

        def work() -> None:
            """Once no other process has the stream's origin."""
            try:
                while not stop.is_set() and _at_work(runner):
                    stop.wait(standing.LOOK)
                runner.run(stop)
            except BaseException as e:
                failure.append(e)

        worker = threading.Thread(target=work, name="move", daemon=True)
        worker.start()
        Heartbeat(source, stream.slot, status, stop).start()
        deadline = time.monotonic() + timeout
        try:
            while True:
                transport, _, lsn = standing.stand(target, stream.name)
                if transport == to:
                    break
                if failure:
                    raise failure[0]
                if time.monotonic() > deadline:
                    raise CdcError(
                        f"{stream.name} has not moved to {to} within {timeout:g} s (it waits until Kafka answers, and"
                        f" nothing is being read again); the wish stands,"
                        f" `banyan stream move {stream.name} --to {transport}` takes it back"
                    )
                for _ in target.notifies(timeout=standing.LOOK, stop_after=1):  # and the worker may have failed
                    pass
        finally:
            stop.set()
            worker.join(10)
    click.echo(f"{stream.name} comes through {to} from {lsn_text(lsn or 0)}")


@click.command()
@stream_option
def connector(path: Path) -> None:
    """Print the registration of a Debezium connector that captures for the stream (`kafka.capture: debezium`)."""
    from cdc.kafka import run as running

    stream = load_stream(path)
    mapping, source = load_mapping(stream, path), dsn(stream.source_dsn_env)
    click.echo(json.dumps(registration(stream, running.settings_of(stream), mapping, source), indent=2))


def _at_work(runner: Runner) -> bool:
    """Whether the stream has a process of its own, or its target is away: then there is nothing to do."""
    try:
        runner.alone(take_over=False).close()
    except Transient:
        return True
    return False


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _wait_for_eof(stop: threading.Event) -> None:
    while sys.stdin.buffer.read(4096):
        pass
    stop.set()
