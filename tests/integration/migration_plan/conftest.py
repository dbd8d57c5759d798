"""A toy domain on two clusters, prepared, streaming, behind a real gateway."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from migration_plan import verbs
from tests.integration.migration_plan import toy

_numbers = itertools.count(1)


@pytest.fixture
def bare(tmp_path: Path, database: str, service_database: str, new_database: Callable[[], str]) -> Iterator[toy.Toys]:
    """Databases, files and web servers; nothing is prepared."""
    toys = toy.make(f"toys{next(_numbers)}", tmp_path, database, service_database, new_database())
    yield toys
    toys.close()


@pytest.fixture
def toys(bare: toy.Toys) -> toy.Toys:
    """Prepared, both streams running, gateway up, everything at legacy."""
    with bare.context() as context:
        verbs.prepare(context, [bare.domain])
    bare.start_stream("forward")
    bare.start_stream("reverse")
    bare.start_gateway()
    toy.until(bare.healthy, "both upstreams to be healthy")
    return bare
