"""The battery agents of the local stack: each a real process with its own folder, configuration and token."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from banyan.errors import StackError
from banyan.stack.config import Config
from banyan.stack.process import Spec

_CONFIG = """\
device_id = {device_id}
token_file = "token"
gateway_url = "{gateway}"
flags_url = "{console}"
state_dir = "state"

[timing]  # a demonstration wants to see something happen
poll_s = 2.0
flags_s = 2.0
ack_spread_s = 0.0
"""


def tokens_file(config: Config) -> Path:
    """Where the seed leaves the devices' tokens: {"<device id>": "<token>"}."""
    return config.home.path / "device-tokens.json"


def specs(config: Config, count: int) -> list[Spec]:
    """One process for each of the first `count` devices."""
    tokens: dict[str, str] = json.loads(tokens_file(config).read_text())
    if len(tokens) < count:
        raise StackError(f"{count} agents were asked for, but the seed made {len(tokens)} devices")
    return [_spec(config, int(device), token) for device, token in list(tokens.items())[:count]]


def _spec(config: Config, device_id: int, token: str) -> Spec:
    folder = config.home.path / "agents" / str(device_id)
    folder.mkdir(parents=True, exist_ok=True)
    _write_private(folder / "token", token)
    (folder / "agent.toml").write_text(
        _CONFIG.format(device_id=device_id, gateway=config["BANYAN_GATEWAY_URL"], console=config["BANYAN_CONSOLE_URL"])
    )
    status = folder / "state" / "status.json"
    return Spec(
        name=f"agent-{device_id}",
        command=[sys.executable, "-m", "pi_agent", "run", "--config", str(folder / "agent.toml")],
        ready=status.exists,
    )


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as handle:
        handle.write(text)
