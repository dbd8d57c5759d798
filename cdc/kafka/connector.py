"""The registration of a Debezium connector that captures for a stream, for those who prefer it to our relay."""

from __future__ import annotations

from typing import Any

from psycopg.conninfo import conninfo_to_dict

from cdc.apply.route import DomainMapping, routes
from cdc.config import Stream
from cdc.kafka.settings import Settings

JSON = "org.apache.kafka.connect.json.JsonConverter"


def registration(stream: Stream, settings: Settings, mapping: DomainMapping, source_dsn: str) -> dict[str, Any]:
    """What `POST /connectors` of Kafka Connect takes. The password stays where it is: the worker reads it from its own
    environment (`config.providers=env`, class EnvVarConfigProvider).
    """
    dsn = conninfo_to_dict(source_dsn)
    config = {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "tasks.max": "1",
        "database.hostname": dsn.get("host", "localhost"),
        "database.port": str(dsn.get("port", 5432)),
        "database.user": dsn.get("user", "banyan_cdc"),
        "database.password": "${env:BANYAN_PASSWORD_BANYAN_CDC}",
        "database.dbname": dsn.get("dbname", ""),
        "topic.prefix": settings.prefix,
        "plugin.name": "pgoutput",
        "slot.name": stream.slot,
        "publication.name": stream.publication,
        "publication.autocreate.mode": "disabled",  # `banyan prepare` makes it
        "slot.stream.params": "origin=none",  # what our applier wrote does not come back
        "table.include.list": ",".join(routes(mapping, stream.direction).by_source),
        "snapshot.mode": "no_data",  # the first fill is ours; the slot says where to begin
        "offset.mismatch.strategy": "trust_offset",  # never start silently where a slot was moved to
        "decimal.handling.mode": "string",
        "time.precision.mode": "microseconds",
        "column.propagate.source.type": ".*",
        "include.unknown.datatypes": "true",
        "skipped.operations": "t",  # a truncate has no place among several partitions
        "message.prefix.include.list": "banyan.fence",
        "heartbeat.interval.ms": "1000",
        "key.converter": JSON,
        "key.converter.schemas.enable": "false",
        "value.converter": JSON,
        "value.converter.schemas.enable": "true",  # they say what type a value has
        "topic.creation.default.partitions": str(settings.partitions),
        "topic.creation.default.replication.factor": str(settings.replicas),
        "producer.override.acks": "all",
        "producer.override.enable.idempotence": "true",
    }
    return {"name": f"banyan-{stream.name}".replace(".", "-"), "config": config}
