"""Opens a stream's capture: what is asked of the source, and the thread that reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cdc.apply.session import translated_errors
from cdc.capture.binary import Resolver, resolver
from cdc.capture.buffer import Buffer
from cdc.capture.reader import Reader
from cdc.capture.replication import ReplicationStream, connect
from cdc.capture.session import open_source
from cdc.capture.streamed import Streamed
from cdc.config import Stream
from cdc.errors import ConfigError
from cdc.schema.sentry import Sentry


def open_reader(
    stream: Stream,
    source_dsn: str,
    position: int,
    buffer: Buffer,
    sentry: Sentry,
    spools: bool,
    check: Callable[[], None],
) -> Reader:
    """Not started. `spools`: large transactions come before they end. `check`: asked once the slot is ours.

    Raises: what `check` raises, NotPrepared, SlotLost, ConfigError, Transient.
    """
    streamed, binary = _streamed(stream), _binary(stream, source_dsn)
    replication = connect(source_dsn, f"banyan-cdc {stream.name}")
    try:
        source = ReplicationStream(
            replication, stream.slot, [stream.publication], position, streaming=spools, binary=binary is not None
        )
        check()
    except BaseException:
        replication.close()
        raise
    return Reader(
        source,
        buffer,
        stream.name,
        raw=True,
        sentry=sentry,
        streamed=streamed,
        binary=binary,
        interval=stream.status_interval,
    )


def _streamed(stream: Stream) -> Streamed:
    folder = Path(stream.spool) if stream.spool is not None else None
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as e:
            raise ConfigError(f"stream {stream.name}: spool folder {folder}: {e.strerror}") from e
    return Streamed(folder, stream.spool_mib << 20)


def _binary(stream: Stream, source_dsn: str) -> Resolver | None:
    if not stream.binary:
        return None
    with open_source(source_dsn, stream.name) as source, translated_errors("the source"):
        return resolver(source, stream.publication)
