"""Moving a stream between the transports at an LSN: the one stops there, the other starts there, nothing between.

`standing.ask` notes the wish in banyan.stream; whoever runs the stream (the process that holds its origin) does it:

direct → kafka: the applier has committed up to L and its connection to the slot is closed. One transaction sets the
transport and puts every partition's place at the topic's present end: what an earlier stay has left in the topics is of
no account. The relay then starts at L, since L is the target's position.

kafka → direct: 1. the watermark passes the source's present position, so the relay that runs now has sent again
whatever one before it may have sent without a control record. 2. The relay ends; its last control record says L. 3.
The consumers pass it: the target is exactly at L. 4. One transaction sets the transport. The direct applier then
starts at L.

What is left of a fill is read beside the stream, through windows that need one order of all changes: the stream is
direct until it is filled, and then moves.
"""

from __future__ import annotations

from typing import Any

import psycopg

from cdc.kafka import client, guard, marks
from cdc.kafka.marks import Place
from cdc.kafka.settings import Settings, Transport
from cdc.kafka.standing import MOVED
from cdc.kafka.topics import Topics, ensure, partitions_of, require_partitions


def foresee(settings: Settings, name: str, tables: list[str]) -> str:
    """What moving to Kafka would find there; changes nothing. Raises: BrokerAway, ConfigError."""
    topics = Topics(settings.prefix, settings.partitions)
    wanted = {topics.control: 1, **{topics.of(table): topics.partitions for table in tables}}
    with client.translated(), client.admin(settings, name) as admin:
        found = partitions_of(admin, wanted)
    for topic in found:
        require_partitions(topic, found[topic], wanted[topic])
    made = len(wanted) - len(found)
    return f"Kafka answers; of the stream's {len(wanted)} topics {settings.prefix}.* {made} are to be made"


def begin_kafka(connection: psycopg.Connection[Any], stream: str, settings: Settings, tables: list[str]) -> None:
    """The stream's own session has nothing in hand, and its direct reader is closed."""
    topics = Topics(settings.prefix, settings.partitions)
    with client.translated():
        with client.admin(settings, stream) as admin:
            ensure(admin, topics, tables, settings)
        with client.consumer(settings, stream, 1, group=False) as reader:
            ends = client.ends(reader, {topics.control: 1, **{topics.of(t): topics.partitions for t in tables}})
    _set(connection, stream, "kafka", {Place(*place): offset for place, offset in ends.items()})


def begin_direct(connection: psycopg.Connection[Any], stream: str) -> None:
    """The relay has ended and its last control record has been passed."""
    _set(connection, stream, "direct", {})


def begin_filling(connection: psycopg.Connection[Any], stream: str) -> None:
    """Direct for now, with the wish to come back. No relay is at work."""
    _set(connection, stream, "direct", {}, "kafka")


def _set(
    connection: psycopg.Connection[Any],
    stream: str,
    transport: Transport,
    places: dict[Place, int],
    wish: Transport | None = None,
) -> None:
    connection.execute(guard.begin_alone(stream))
    marks.restart(connection, stream, places)
    query = "UPDATE banyan.stream SET transport = %s, move_to = %s WHERE stream = %s"
    connection.execute(query, [transport, wish, stream])
    connection.execute("SELECT pg_notify(%s, %s)", [MOVED, stream])
    connection.execute("COMMIT")
