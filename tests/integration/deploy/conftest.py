"""Secrets as deploy/make-secrets.sh makes them, and the compose file filled with them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.integration.deploy import compose


def make_secrets(target: Path) -> dict[str, str]:
    subprocess.run([compose.ROOT / "deploy" / "make-secrets.sh", target], check=True, capture_output=True, timeout=30)
    return dict(line.split("=", 1) for line in target.read_text().splitlines())


@pytest.fixture(scope="session")
def secrets_env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """…and the one optional variable that spares the tests an agent's leisurely pace."""
    return {**make_secrets(tmp_path_factory.mktemp("compose") / ".env"), "AGENT_POLL_S": "1"}


@pytest.fixture(scope="session")
def stack(secrets_env: dict[str, str]) -> dict[str, Any]:
    return compose.load(secrets_env)
