"""Whether source and slot are those that a stream's position was read from: asked before each start, and again when
the slot is held.
"""

from __future__ import annotations

from typing import Any

import psycopg

from cdc.apply.session import translated_errors
from cdc.apply.state import StreamState
from cdc.capture import slot as slots
from cdc.capture.replication import connect as connect_replication
from cdc.capture.replication import identify, past
from cdc.capture.session import open_source
from cdc.config import Stream
from cdc.errors import WrongSource


def judge_source(
    stream: Stream, source_dsn: str, target: psycopg.Connection[Any], state: StreamState, position: int
) -> None:
    """Whether it is the same cluster, on a timeline that has the position. Raises: WrongSource, Transient."""
    with connect_replication(source_dsn, f"banyan-cdc {stream.name}") as source, translated_errors("the source"):
        system, timeline = identify(source)
        if state.source_system is not None and state.source_system != system:
            raise WrongSource(
                f"the source is cluster {system}, but stream {stream.name} was made for {state.source_system}:"
                f" correct the source's URL, or {slots.AGAIN}"
            )
        known = state.source_timeline
        ends = past(source, timeline) if known not in (None, timeline) else {}
    if (refusal := slots.judge_timeline(stream.name, position, known, timeline, ends)) is not None:
        raise refusal
    if (state.source_system, known) != (system, timeline):
        with translated_errors():
            target.execute(
                "UPDATE banyan.stream SET source_system = %s, source_timeline = %s WHERE stream = %s",
                [system, timeline, stream.name],
            )


def judge_slot(stream: Stream, source_dsn: str, position: int) -> None:
    """Until the slot is ours anybody could move it. Raises: SlotLost, SlotAhead, SlotTaken, WrongSource, Transient."""
    with open_source(source_dsn, stream.name) as source, translated_errors("the source"):
        found = slots.find(source, stream.slot)
    if (refusal := slots.judge(stream.slot, found, position, f"banyan-cdc {stream.name}")) is not None:
        raise refusal
