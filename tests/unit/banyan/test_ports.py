"""Free ports: never the same twice, never one that an outgoing connection could take."""

from __future__ import annotations

import socket

import pytest

from banyan.errors import PortInUse
from banyan.servers.ports import free_port


def test_each_port_is_another_one_below_those_of_outgoing_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BANYAN_PORT_RANGE", raising=False)
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50
    assert all(10_240 <= port < 32_768 for port in ports)


def test_a_taken_port_is_passed_over_and_a_full_range_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("BANYAN_PORT_RANGE", f"{port}-{port}")
        with pytest.raises(PortInUse, match=f"no port of {port}-{port} is free: name others by BANYAN_PORT_RANGE"):
            free_port()


def test_the_preferred_port_is_given_while_it_is_free() -> None:
    port = free_port()
    assert free_port(port) == port
    with socket.create_server(("127.0.0.1", port)):
        assert free_port(port) != port


@pytest.mark.parametrize("wrong", ["20000", "20000-", "b-c", "9-1", "1-70000"])
def test_a_range_that_is_none_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("BANYAN_PORT_RANGE", wrong)
    with pytest.raises(PortInUse, match="is no range of ports: say low-high"):
        free_port()
