"""`python -m cdc verify-loop`: the process that compares every domain, all the time."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from urllib.parse import urlsplit

import click
import structlog

from cdc.change import Direction
from cdc.config import Stream, dsn, load_mapping, load_stream
from cdc.environment import home
from cdc.errors import ConfigError
from cdc.mapping import Mapping
from cdc.verify.loop import DELAY_S, PAUSE_S, RATE, Loop
from cdc.verify.serve import serve
from cdc.verify.touches import Carrier


@click.command("verify-loop")
@click.option("--stream", "paths", multiple=True, metavar="FILE", help="Streams' files [default: the local stack's].")
@click.option("--rate", type=click.FloatRange(min=1), default=RATE, show_default=True, help="Rows/s and domain.")
@click.option("--pause", type=click.FloatRange(min=0), default=PAUSE_S, show_default=True, help="Between passes, s.")
@click.option("--delay", type=click.FloatRange(min=0), default=DELAY_S, show_default=True, help="To the first, s.")
@click.option("--listen", default=None, metavar="HOST:PORT", help="[default: where $BANYAN_VERIFY_URL says]")
def verify_loop(paths: tuple[str, ...], rate: float, pause: float, delay: float, listen: str | None) -> None:
    """Compare every domain's sides over and over until SIGTERM; what comes of it is kept in banyan.verified.

    A domain whose streams are not prepared yet is tried again every few seconds.
    """
    loops = make(
        [Path(path) for path in paths] or sorted((home(os.environ) / "streams").glob("*.*.json")), rate, pause, delay
    )
    address = listen or urlsplit(os.environ.get("BANYAN_VERIFY_URL", "")).netloc or "127.0.0.1:0"
    os.nice(10)  # whoever serves clients goes first
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    server, stop = serve(address, loops), threading.Event()
    structlog.get_logger("cdc").info("started", domains=[loop.mapping.domain for loop in loops], listen=server.url)
    for loop in loops:
        threading.Thread(target=loop.run, args=(stop,), name=f"verify-{loop.mapping.domain}", daemon=True).start()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    stop.set()  # a comparison under way ends with the process: it changes nothing
    server.close()


def make(files: list[Path], rate: float | None, pause: float, delay: float) -> list[Loop]:
    """A loop for each domain of these streams. Raises: ConfigError."""
    found: dict[str, dict[Direction, Stream]] = {}
    mappings: dict[str, Mapping] = {}
    for path in files:
        stream = load_stream(path)
        found.setdefault(stream.domain, {})[stream.direction] = stream
        mappings[stream.domain] = load_mapping(stream, path)
    if not found:
        raise ConfigError("no stream's file was found: name them with --stream, or start the stack with `banyan up`")
    loops: list[Loop] = []
    for domain, streams in sorted(found.items()):
        if "forward" not in streams:
            raise ConfigError(f"there is no forward stream of {domain} among the files")
        forward = streams["forward"]
        carriers = {direction: Carrier.of(stream) for direction, stream in streams.items()}
        legacy, service = dsn(forward.source_dsn_env), dsn(forward.target_dsn_env)
        loops.append(Loop(mappings[domain], legacy, service, carriers, rate, pause, delay))
    return loops
