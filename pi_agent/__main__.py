"""`python -m pi_agent run|status|check-config|self-test --config /etc/banyan-agent/agent.toml`."""

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
from pi_agent import drivers, status
from pi_agent.agent import Agent
from pi_agent.clock import SystemClock
from pi_agent.config import Config
from pi_agent.controller import Checkpoint
from pi_agent.core import Core
from pi_agent.errors import AgentError, ConfigError
from pi_agent.journal import Step
from pi_agent.notify import Notifier
from pi_agent.store import Store

DEFAULT_CONFIG = Path("/etc/banyan-agent/agent.toml")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="banyan-agent", description="The battery agent.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, purpose in (
        ("run", "run until SIGTERM"),
        ("status", "print the status file; exit 1 unless the agent runs"),
        ("check-config", "check the configuration; each problem with its line"),
        ("self-test", "try configuration, state, clock, battery and backends; changes nothing but a pulse of 0 W"),
    ):
        command = commands.add_parser(name, aliases=["lint"] if name == "check-config" else [], help=purpose)
        command.add_argument("--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help=f"({DEFAULT_CONFIG})")
        if name == "self-test":
            command.add_argument("--json", action="store_true", dest="as_json", help="one object on one line")
    options = parser.parse_args(arguments)
    try:
        config = configuration.load(options.config)
        if options.command == "run":
            _run(config)
        elif options.command == "status":
            _status(config)
        elif options.command == "self-test":
            _self_test(config, options.as_json)
        else:
            _check(config)
    except AgentError as error:
        print("\n".join(f"banyan-agent: {line}" for line in str(error).splitlines()), file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigError) else 1)


def _check(config: Config) -> None:
    drivers.make(config, SystemClock()).close()
    flag = config.flags_url or "none: always legacy"
    print(f"ok: device {config.device_id}, gateway {config.gateway_url}, flags {flag}, state in {config.state_dir}")


def _status(config: Config) -> None:
    values = status.read(config.status_file)
    age = status.age_s(config.status_file)
    print(json.dumps(values, indent=1))
    if values.get("state") != "running" or age > 10 + 3 * config.timing.control_s:
        raise AgentError(f"not running: state {values.get('state')!r}, written {age:.0f} s ago")


def _self_test(config: Config, as_json: bool) -> None:
    from pi_agent.self_test import run

    findings = asyncio.run(run(config))
    if as_json:
        print(json.dumps({f.name: {"well": f.well, "detail": f.detail} for f in findings}, ensure_ascii=False))
    else:
        for finding in findings:
            print(f"{'ok    ' if finding.well else 'FAILED'} {finding.name}: {finding.detail}")
    if failed := [f.name for f in findings if not f.well]:
        raise AgentError(f"self-test failed: {', '.join(failed)}")


def _run(config: Config) -> None:
    _log_as_json(config.device_id)
    driver = drivers.make(config, SystemClock())
    try:
        store = Store(config.database)
    except OSError as error:
        raise AgentError(f"cannot use state_dir {config.state_dir}: {error}") from None
    notifier = Notifier()
    try:
        core = Core(config, store, driver, SystemClock(), random.SystemRandom().uniform, _checkpoint())
        asyncio.run(_until_stopped(Agent(core, notifier)))
    finally:
        notifier.close()
        store.close()
        driver.close()


async def _until_stopped(agent: Agent) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await agent.run(stop)


def _checkpoint() -> Checkpoint:
    """For fault drills: PI_AGENT_CRASH_AT names the step of the journal at which the process kills itself.

    `name:n` kills at the n-th time that the step is reached.
    """
    wanted, _, nth = os.environ.get("PI_AGENT_CRASH_AT", "").partition(":")
    left = int(nth or 1)

    def check(step: Step) -> None:
        nonlocal left
        if step.value == wanted:
            left -= 1
            if left == 0:
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
