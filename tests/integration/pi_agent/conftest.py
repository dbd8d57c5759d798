"""Agents that are ended with their test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.pi_agent.process import AgentProcess, Make


@pytest.fixture
def agents(tmp_path: Path) -> Iterator[Make]:
    """Makes agents; ends those that still run."""
    made: list[AgentProcess] = []

    def make(gateway_url: str, flags_url: str | None = None, **more: Any) -> AgentProcess:
        folder = tmp_path / f"agent-{len(made)}"
        folder.mkdir()
        made.append(AgentProcess(folder, gateway_url, flags_url, **more))
        return made[-1]

    yield make
    for agent in made:
        if agent.process is not None and agent.process.poll() is None:
            agent.process.kill()
            agent.process.wait(10)
