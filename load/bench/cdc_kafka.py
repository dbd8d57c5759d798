"""Our stream through Kafka in `banyan bench cdc`: relay and consumer as two processes, one broker between."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
from collections.abc import Iterator
from typing import Any

import msgspec

from banyan.errors import ServerFailed, ServerMissing
from banyan.servers.kafka import Kafka as Broker
from cdc import streams
from cdc.config import Stream
from load.bench.cdc import Unavailable
from load.bench.cdc_contestants import carrying
from load.bench.cdc_rig import MAPPING, PUBLICATION, TARGET, Arrived, Rig, database

PARTITIONS = 4


class Kafka:
    """`python -m cdc run` of a stream whose transport is kafka."""

    name, slot = "kafka", "bench_kafka"
    bound, captured = None, 0

    def __init__(self) -> None:
        self._broker: Broker | None = None

    def prepare(self, rig: Rig) -> None:
        """Raises: Unavailable where no broker is to be had."""
        broker = Broker(rig.folder / "kafka", jvm_options=())
        try:
            broker.start()
        except (ServerMissing, ServerFailed) as e:
            raise Unavailable(str(e)) from e
        self._broker = broker
        atexit.register(broker.stop)
        database(rig.target, "kafka", TARGET)
        (rig.folder / "mapping.yaml").write_text(MAPPING)
        fields: dict[str, Any] = {
            "name": "bench.kafka", "domain": "bench", "direction": "forward", "snapshot": False,
            "source_dsn_env": "BENCH_SOURCE", "target_dsn_env": "BENCH_TARGET",
            "slot": self.slot, "publication": PUBLICATION, "origin": self.slot,
            "mapping": str(rig.folder / "mapping.yaml"),
            "transport": "kafka", "kafka": {"prefix": f"bench.{os.getpid()}", "partitions": PARTITIONS},
        }  # fmt: skip
        (rig.folder / "kafka.json").write_text(json.dumps(fields))
        streams.prepare(msgspec.convert(fields, Stream), rig.source_dsn, self.target(rig))

    def target(self, rig: Rig) -> str:
        return rig.target.dsn("kafka")

    @contextlib.contextmanager
    def running(self, rig: Rig) -> Iterator[Arrived]:
        assert self._broker is not None
        with carrying(rig, "kafka", self.target(rig), KAFKA_BOOTSTRAP_SERVERS=self._broker.bootstrap) as arrived:
            yield arrived

    def landing(self, rig: Rig) -> str:
        return self.target(rig)
