"""Fixtures of the load tests."""

import pytest

from banyan.servers.ports import free_port


@pytest.fixture
def free_port_number() -> int:
    return free_port()
