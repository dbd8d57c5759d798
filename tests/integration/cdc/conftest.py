"""Both sides of the toy domain, on two clusters."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cdc.toy import LEGACY, SERVICE, Shop, execute

_numbers = itertools.count(1)


@pytest.fixture
def shop(database: str, service_database: str, tmp_path: Path) -> Iterator[Shop]:
    execute(database, LEGACY)
    execute(service_database, SERVICE)
    shop = Shop(database, service_database, tmp_path, next(_numbers))
    yield shop
    shop.close()
