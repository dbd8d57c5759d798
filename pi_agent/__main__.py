"""`python -m pi_agent run|status|lint --config agent.toml`."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

from pi_agent import config as configuration
from pi_agent import status
from pi_agent.agent import Agent
from pi_agent.battery import SimulatedBattery
from pi_agent.clock import SystemClock
from pi_agent.config import Config
from pi_agent.controller import Checkpoint, Controller
from pi_agent.errors import AgentError, ConfigError
from pi_agent.store import Store


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="banyan-agent", description="The battery agent.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, purpose in (
        ("run", "run until SIGTERM"),
        ("status", "print the status file; exit 1 unless the agent runs"),
        ("lint", "check the configuration"),
    ):
        command = commands.add_parser(name, help=purpose)
        command.add_argument("--config", type=Path, required=True, metavar="FILE")
    options = parser.parse_args(arguments)
    try:
        config = configuration.load(options.config)
        {"run": _run, "status": _status, "lint": _lint}[options.command](config)
    except AgentError as error:
        print(f"banyan-agent: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigError) else 1)


def _lint(config: Config) -> None:
    flag = config.flags_url or "none: always legacy"
    print(f"ok: device {config.device_id}, gateway {config.gateway_url}, flags {flag}, state in {config.state_dir}")


def _status(config: Config) -> None:
    values = status.read(config.status_file)
    age = status.age_s(config.status_file)
    print(json.dumps(values, indent=1))
    if values.get("state") != "running" or age > 10 + 3 * config.timing.control_s:
        raise AgentError(f"not running: state {values.get('state')!r}, written {age:.0f} s ago")


def _run(config: Config) -> None:
    _log_as_json(config.device_id)
    try:
        store = Store(config.database)
    except OSError as error:
        raise AgentError(f"cannot use state_dir {config.state_dir}: {error}") from None
    try:
        asyncio.run(_until_stopped(config, store))
    finally:
        store.close()


async def _until_stopped(config: Config, store: Store) -> None:
    clock, checkpoint = SystemClock(), _checkpoint()
    battery = SimulatedBattery(config.battery, config.state_dir / "battery.json", clock, 3 * config.timing.control_s)
    controller = Controller(store, battery, config.battery, clock, checkpoint)
    agent = Agent(config, store, controller, clock, random.SystemRandom().uniform, checkpoint)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await agent.run(stop)


def _checkpoint() -> Checkpoint:
    """For fault drills: PI_AGENT_CRASH_AT names the step of the journal at which the process kills itself."""
    step = os.environ.get("PI_AGENT_CRASH_AT")

    def check(name: str) -> None:
        if name == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return check


class _JsonLines(logging.Formatter):
    def __init__(self, device_id: int) -> None:
        super().__init__()
        self._device_id = device_id

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "ts": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "device_id": self._device_id,
        }
        if request_id := getattr(record, "request_id", None):
            line["request_id"] = request_id
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def _log_as_json(device_id: int) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines(device_id))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("pi_agent").setLevel(logging.INFO)


if __name__ == "__main__":
    main()
