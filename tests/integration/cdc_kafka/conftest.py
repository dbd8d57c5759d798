"""The toy domain over a real broker; each test has topics of its own."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from banyan.servers.kafka import Kafka
from cdc.kafka.settings import Settings
from tests.integration.cdc.toy import LEGACY, SERVICE, Shop, execute


@pytest.fixture
def shop(
    database: str, service_database: str, tmp_path: Path, kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shop]:
    """Its streams come through Kafka."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap)
    execute(database, LEGACY)
    execute(service_database, SERVICE)
    settings = Settings(prefix=f"toy.{secrets.token_hex(3)}", partitions=3)
    number = 1000 + secrets.randbelow(100000)
    shop = Shop(database, service_database, tmp_path, number, transport={"transport": "kafka", "kafka": settings})
    yield shop
    shop.close()
