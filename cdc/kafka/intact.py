"""Whether Kafka still has what the target has not applied. Its clients go on elsewhere without a word when it has not.

Retention may have passed it, somebody may have made the topic anew, or a broker that was not in sync became leader.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from kafka import KafkaConsumer

from cdc.capture.slot import AGAIN
from cdc.kafka import client, marks
from cdc.kafka.errors import LogLost
from cdc.kafka.marks import Place


def require_log(kafka: KafkaConsumer, needed: Mapping[Place, int], ends: Mapping[Place, int] | None = None) -> None:
    """That each partition goes on at its offset, and as far as `ends`. Raises: LogLost."""
    firsts, lasts = client.limits(kafka, needed)
    for place, offset in needed.items():
        first, last = firsts[place], lasts[place]
        known = max(offset, (ends or {}).get(place, 0))
        if first > offset:
            what = f"begins at {first}, the target has come to {offset}: what was between is gone"
        elif known > last:
            what = f"ends at {last}, but {known} records were there: it was made anew, or cut off"
        else:
            continue
        raise LogLost(f"Kafka's {place.topic} partition {place.partition} {what}; {AGAIN}")


def require_topic(target: psycopg.Connection[Any], stream: str, topic: str, number: str) -> None:
    """That it is the topic whose places are kept; `number` is its id. Raises: LogLost."""
    before = marks.topic_id(target, stream, topic)
    if not before:
        marks.note_topic(target, stream, topic, number)
    elif number and before != number:
        raise LogLost(f"Kafka's topic {topic} was made anew, and what the old one had is gone; {AGAIN}")
