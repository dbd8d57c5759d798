"""Topics: their names, and making sure that they are as a stream needs them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import NewTopic
from kafka.errors import TopicAlreadyExistsError

from cdc.errors import ConfigError
from cdc.kafka.bounded import PATIENCE, within
from cdc.kafka.partitioner import partition
from cdc.kafka.settings import Settings

# Kafka keeps what a consumer has not read for so long; a target that is away longer is filled again.
RETENTION_MS = 7 * 24 * 3600 * 1000
# One change with all its values; PostgreSQL's may be larger, and is then refused by the relay, which stops and says so.
MAX_MESSAGE_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Topics:
    """Of one stream."""

    prefix: str
    partitions: int

    @property
    def control(self) -> str:
        return f"{self.prefix}.banyan"

    def of(self, table: str) -> str:
        """`table` is the source's, qualified: the name that Debezium gives the topic too."""
        return f"{self.prefix}.{table}"

    def table(self, topic: str) -> str:
        return topic[len(self.prefix) + 1 :]

    def partition(self, key: bytes) -> int:
        return partition(key, self.partitions)


def ensure(admin: KafkaAdminClient, topics: Topics, tables: Iterable[str], settings: Settings) -> dict[str, str]:
    """Make the topics that are missing, and return the ids of all.

    The number of partitions never changes while a stream lives: a key would move to another partition, and its order
    with it.

    Raises: ConfigError when a topic has another number of partitions than the plan says.
    """
    wanted = {topics.control: 1, **{topics.of(table): topics.partitions for table in tables}}
    found = partitions_of(admin, wanted)
    for name, count in wanted.items():
        if name not in found:
            replicas = settings.replicas
            # A write counts when most replicas have it, so one broker may fail without a loss and without a pause.
            config = {
                "cleanup.policy": "delete",
                "retention.ms": str(RETENTION_MS),
                "max.message.bytes": str(MAX_MESSAGE_BYTES),
            }
            config["min.insync.replicas"] = str(max(1, replicas // 2 + 1) if replicas > 1 else 1)
            try:
                made = [NewTopic(name, count, replicas, topic_configs=config)]
                within(PATIENCE, "making a topic", partial(admin.create_topics, made))
            except TopicAlreadyExistsError:
                found |= partitions_of(admin, [name])
        require_partitions(name, found.get(name, count), count)
    return {name: str(topic["topic_id"] or "") for name, topic in _described(admin, wanted).items()}


def require_partitions(topic: str, has: int, wanted: int) -> None:
    """Raises: ConfigError."""
    if has != wanted:
        raise ConfigError(
            f"Kafka topic {topic} has {has} partitions, the stream {wanted}: choose another prefix, or set"
            " the plan's `partitions` to what the topic has"
        )


def partitions_of(admin: KafkaAdminClient, names: Iterable[str]) -> dict[str, int]:
    """Of those topics that exist."""
    return {name: len(topic["partitions"]) for name, topic in _described(admin, names).items()}


def _described(admin: KafkaAdminClient, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    known = set(within(PATIENCE, "the list of topics", admin.list_topics))
    names = [name for name in names if name in known]
    found = within(PATIENCE, "describing topics", lambda: admin.describe_topics(names)) if names else []
    return {topic["name"]: topic for topic in found}
