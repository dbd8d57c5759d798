"""A running domain's streams go through Kafka and back, by the operator's commands, while clients work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from banyan.servers.kafka import Kafka
from tests.e2e.conftest import Stack, banyan, start_stack, wait_for
from tests.e2e.journey import clients

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(400)]  # a stack and a broker of its own

STREAMS = ("pricing.forward", "pricing.reverse")


@pytest.fixture
def beside_kafka(kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    home = tmp_path / "home"
    try:
        with monkeypatch.context() as shell:
            shell.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap)
            stack = start_stack(home, "--agents", "0")
        monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)  # the operator's next shell
        yield stack
    finally:
        banyan(home, "down", check=False)


def transports(stack: Stack) -> list[str]:
    """Of both streams, each at its own target."""
    found = []
    for stream, side in zip(STREAMS, ("PRICING", "LEGACY"), strict=True):
        with psycopg.connect(stack.env[f"BANYAN_{side}_DSN"]) as target:
            row = target.execute("SELECT transport FROM banyan.stream WHERE stream = %s", [stream]).fetchone()
            found += row or ()
    return found


def test_both_streams_of_a_domain_go_through_kafka_and_back_while_clients_work(beside_kafka: Stack) -> None:
    stack = beside_kafka
    foreseen = stack.banyan("stream", "move", "pricing.forward", "--to", "kafka", "--dry-run").stdout
    assert "Kafka answers" in foreseen
    assert "nothing was changed" in foreseen
    with clients(stack, "pricing"):  # at the end it looks for every accepted write in both databases
        for to in ("kafka", "direct"):
            for stream in STREAMS:
                said = stack.banyan("stream", "move", stream, "--to", to).stdout
                assert f"{stream} comes through {to} from " in said
                assert stack.banyan("stream", "move", stream, "--to", to).stdout.strip().endswith("already")
            assert transports(stack) == [to, to]
            stack.banyan("verify", "pricing")
    wait_for(lambda: "bad" not in stack.banyan("doctor").stdout, "all parts to be well", 60, 1)
