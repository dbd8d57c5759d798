"""The stack of a drill of the switch: a whole one in a folder of its own, with proxies on the ways that can be cut."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from banyan.stack import boot, config
from banyan.stack.config import Config
from banyan.stack.home import Home
from banyan.stack.supervisor import Supervisor
from load.drill.proxy import Proxies, Proxy
from load.drill.world import DrillError

DOMAIN = "pricing"
#: Which variables lead over each way; the applications' own way to their databases is not cut, their server is killed.
WAYS = {
    "legacy": ("BANYAN_LEGACY_URL",),
    "service": ("BANYAN_PRICING_URL",),
    "pg-legacy": ("BANYAN_LEGACY_DSN", "BANYAN_LEGACY_CDC_DSN"),
    "pg-services": ("BANYAN_PRICING_DSN", "BANYAN_PRICING_CDC_DSN"),
    "redis": ("GATEWAY_REDIS_URL", "BANYAN_REDIS_URL"),
}
PORTS = {
    "legacy": "legacy",
    "service": "pricing",
    "pg-legacy": "pg-legacy",
    "pg-services": "pg-services",
    "redis": "redis",
}
#: Of the controller alone: what it steers by.
STEERS = {
    "BANYAN_LEGACY_DSN": "pg-legacy",
    "BANYAN_PRICING_DSN": "pg-services",
    "BANYAN_LEDGER_DSN": "pg-services",
    "BANYAN_GATEWAY_ADMIN_URL": "gateway-admin",
}
Say = Callable[[str], None]


@dataclass(slots=True)
class Stage:
    home: Home
    settings: Config
    supervisor: Supervisor
    proxies: Proxies
    ways: dict[str, list[Proxy]]
    straight: dict[str, str]  # the variables as they are without proxies
    steering: dict[str, str] = field(default_factory=dict)  # the controller's own, through proxies of its own

    def controller(self, verb: str, stop: str = "", *force: str, aside: bool = False) -> subprocess.Popen[str]:
        """A verb in a process of its own; both its streams are ours. `aside`: from another machine, whose ways are not
        those that a controller's can be cut on.
        """
        command = [sys.executable, "-m", "load.drill.controller", verb, DOMAIN, "--stop", stop]
        # By name, so that the same command, given again, does nothing more than what is left to do.
        command += ["--to", "canary"] if verb == "rollback" else []
        command += [word for gate in force for word in ("--force", gate)]
        steering = {} if aside else self.steering
        env = {**os.environ, **self.settings.env, **steering, "BANYAN_HOME": str(self.home.path)}
        return subprocess.Popen(
            command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def verb(self, verb: str, *force: str, timeout: float = 60.0, aside: bool = False) -> tuple[int, str]:
        """Run it to its end: exit code and last line."""
        process = self.controller(verb, "", *force, aside=aside)
        try:
            said, _ = process.communicate("", timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            said, _ = process.communicate()
            return -1, f"no end within {timeout:.0f} s: {_last(said)}"
        return process.returncode, _last(said)


@contextmanager
def stage(say: Say) -> Iterator[Stage]:
    """Up to the last canary step, where a switch may begin. Raises: DrillError, ServerMissing, ServerFailed."""
    with tempfile.TemporaryDirectory(prefix="banyan-drill-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        home = Home(Path(folder) / "stack")
        with home.lock():
            settings = config.make(home, workers=2)
            straight = dict(settings.env)
            proxies = Proxies()
            supervisor = Supervisor(home)
            try:
                ways = {way: _lead(settings, proxies, way) for way in WAYS}
                steering, ways["controller"] = _steer(settings, straight, proxies)
                settings.write()
                options = boot.Options(agents=0, customers=10, prices_since=2025, meters=0, steward=False)
                boot.boot(settings, supervisor, options, lambda step, detail: None)
                made = Stage(home, settings, supervisor, proxies, ways, straight, steering)
                say("the stack is up")
                _advance(made)
                yield made
            finally:
                for way in ways.values():
                    for proxy in way:
                        proxies.tell(proxy.heal)
                supervisor.stop()
                proxies.stop()


def _lead(settings: Config, proxies: Proxies, way: str) -> list[Proxy]:
    port = settings.port(PORTS[way])
    proxy = proxies.to(port)
    for name in WAYS[way]:
        settings.env[name] = _through(settings.env[name], port, proxy.port)
    return [proxy]


def _steer(settings: Config, straight: dict[str, str], proxies: Proxies) -> tuple[dict[str, str], list[Proxy]]:
    """Behind those of the servers: what cuts a server cuts the controller from it too."""
    found, made = {}, []
    for name in STEERS:
        # The port in the address may be that of a proxy already.
        port = next(int(part) for part in _ports(settings.env[name]))
        proxy = proxies.to(port)
        made.append(proxy)
        found[name] = _through(settings.env[name], port, proxy.port)
    return found, made


def _ports(address: str) -> list[str]:
    host = address.rpartition("@")[2].removeprefix("http://")
    return [host.partition(":")[2].partition("/")[0]]


def _through(address: str, port: int, other: int) -> str:
    return address.replace(f"127.0.0.1:{port}", f"127.0.0.1:{other}")


def _advance(made: Stage) -> None:
    for force in ((), ("shadow",), ("shadow",)):
        code, said = made.verb("advance", *force)
        if code != 0:
            raise DrillError(f"the stack does not come to its canary: {said}")


def _last(said: str) -> str:
    return said.strip().splitlines()[-1] if said.strip() else "it said nothing"


def table_of(made: Stage) -> dict[str, object]:
    """What the gateway routes by."""
    url = f"{made.straight['BANYAN_GATEWAY_ADMIN_URL']}/v1/table"
    token = {"Authorization": f"Bearer {made.straight['GATEWAY_ADMIN_TOKEN']}"}
    found: dict[str, object] = json.loads(httpx.get(url, headers=token, timeout=5).raise_for_status().content)
    return found
