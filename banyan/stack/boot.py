"""Bring the whole system up, in order: servers, schemas, data, ownership and streams, applications, console."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from banyan.errors import StackError
from banyan.stack import agents, databases, routes, specs
from banyan.stack.config import SERVICES, Config
from banyan.stack.home import Home, Running
from banyan.stack.supervisor import Supervisor

_ROOM = 512 * 2**20  # bytes; ten years of prices take 220 MiB when they are loaded

#: Called with (step, detail) as the start goes on.
Progress = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Options:
    """How much of a system to start."""

    agents: int = 3
    customers: int = 50
    prices_since: int | None = None  # None: all ten years
    meters: int = 5
    domains: tuple[str, ...] = SERVICES  # whose services and streams run; the monolith has all of them
    steward: bool = True  # not where parts are broken on purpose, and the steps go on over it


def run_step(config: Config, name: str, command: list[str], env: dict[str, str], timeout: float = 300.0) -> str:
    """Run one set-up command to its end; its output goes to its log. Returns its standard output.

    Raises: StackError with its last line.
    """
    base = {
        k: os.environ[k]
        for k in ("PATH", "HOME", "LANG", "TMPDIR", "SSL_CERT_FILE", "BANYAN_DATA_DIR")
        if k in os.environ
    }
    pip = {k: v for k, v in os.environ.items() if k.startswith(("PIP_", "UV_"))}
    try:
        done = subprocess.run(
            command,
            env={**base, **pip, **env},
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise StackError(f"{name} took more than {timeout:.0f} s: see {config.home.log(name)}") from None
    with config.home.log(name).open("a") as log:
        log.write(done.stdout + done.stderr)
    if done.returncode != 0:
        words = (done.stderr.strip() or done.stdout.strip() or "it wrote nothing").splitlines()
        raise StackError(f"{name} failed: {words[-1]} (see {config.home.log(name)})")
    return done.stdout


def _module(*arguments: str) -> list[str]:
    return [sys.executable, "-m", *arguments]


def boot(config: Config, supervisor: Supervisor, options: Options, progress: Progress) -> None:
    """From nothing to serving; every step may be repeated on an existing folder."""
    require_room(config.home)
    _start_servers(config, supervisor, progress)
    _make_schemas(config, progress)
    early = [
        specs.legacy(config),
        *specs.services(config, options.domains),
        specs.console(config),
    ]  # they need their tables, no more
    for spec in early:
        supervisor.launch(spec)
    _load_data(config, options, progress)
    _prepare(config, progress)
    progress("applications", "monolith, services, streams, gateway, console")
    late = [specs.gateway(config), *specs.streams(config, options.domains)]
    supervisor.start_all(late, lambda name: progress("ready", name), started=early)
    if options.agents:
        fleet = agents.specs(config, options.agents)
        supervisor.start_all(fleet)
        progress("agents", f"{len(fleet)} battery agents")
    supervisor.launch(specs.verify(config, options.domains))  # nobody waits for these two
    if options.steward:
        supervisor.launch(specs.steward(config))
    supervisor.on_change()
    supervisor.watch()


def require_room(home: Home) -> None:
    """Raises: StackError when the disk is all but full: servers that find no room say so in many ways."""
    free = shutil.disk_usage(home.nearest).free
    if free < _ROOM:
        raise StackError(
            f"{free // 2**20} MiB are free at {home.path}, a stack needs {_ROOM // 2**20}: "
            "make room, or set BANYAN_HOME to a folder on another disk"
        )


def _start_servers(config: Config, supervisor: Supervisor, progress: Progress) -> None:
    clusters = {"legacy": specs.postgres(config, "pg-legacy"), "services": specs.postgres(config, "pg-services")}
    fresh = [server for server in clusters.values() if not server.initialised]
    progress("servers", "PostgreSQL ×2, Redis")
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda server: server.initialise(), fresh))
    supervisor.start_all(specs.servers(config))
    for cluster, server in clusters.items():
        databases.bootstrap(server, cluster, config)


def _make_schemas(config: Config, progress: Progress) -> None:
    progress("schemas", "Alembic, four databases")
    jobs = [("legacy-migrate", _module("legacy_monolith", "migrate"), config.pick("LEGACY_*"))]
    jobs += [
        (
            f"{s}-migrate",
            _module(f"services.{s}", "migrate"),
            config.pick(f"{s.upper()}_*", "LEGACY_SECRET_KEY", "LEGACY_BACKOFFICE_KEY"),
        )
        for s in SERVICES
    ]
    with ThreadPoolExecutor(max_workers=2) as pool:
        for done in [pool.submit(run_step, config, *job) for job in jobs]:
            done.result()


def _load_data(config: Config, options: Options, progress: Progress) -> None:
    """Once: later the rows belong to whoever owns them by then, and the monolith may not be the one."""
    mark = config.home.path / "data-loaded"
    if mark.exists():
        progress("data", "is there from the last time")
        return
    env = config.pick("LEGACY_*")
    tokens = agents.tokens_file(config)
    progress("customers", f"{options.customers} customers, contracts, meters, devices")
    with ThreadPoolExecutor(max_workers=1) as beside:  # prices are nobody's: they need no customers
        prices = beside.submit(_load_prices, config, options, env)
        run_step(
            config,
            "legacy-seed",
            _module("legacy_monolith", "seed", "--customers", str(options.customers), "--tokens", str(tokens)),
            env,
        )
        tokens.chmod(0o600)
        progress("prices", prices.result())
    if options.meters:
        said = run_step(
            config, "load-readings", _module("legacy_monolith", "load-readings", "--meters", str(options.meters)), env
        )
        progress("readings", said.strip().splitlines()[-1] if said.strip() else "loaded")
    mark.touch()


def _load_prices(config: Config, options: Options, env: dict[str, str]) -> str:
    """The data that readings are made of too; what the loader says of it."""
    run_step(config, "fetch-data", _module("legacy_monolith", "fetch-data"), env)
    since = ["--since", str(options.prices_since)] if options.prices_since else []
    said = run_step(config, "load-prices", _module("legacy_monolith", "load-prices", *since), env)
    return said.strip().splitlines()[-1] if said.strip() else "loaded"


def _prepare(config: Config, progress: Progress) -> None:
    progress("ownership", "guards, publications, slots, ledger")
    banyan = _module("banyan.cli")
    run_step(config, "prepare", [*banyan, "prepare", "--all"], config.env)
    run_step(config, "compile", [*banyan, "plan", "compile", "--out", str(config.home.streams)], config.env)
    routes.carry_on(config)


def announce(config: Config, supervisor: Supervisor, *, ready: bool) -> None:
    """Write `stack.json`, by which other commands find this stack."""
    config.home.write_state(
        Running(
            os.getpid(),
            config["BANYAN_GATEWAY_URL"],
            config["BANYAN_CONSOLE_URL"],
            ready,
            supervisor.pids(),
            supervisor.restarts(),
            int(config["GATEWAY_WORKERS"]),
        )
    )


def wait_until_ready(home: Home, timeout: float, alive: Callable[[], bool]) -> Running:
    """Until the stack that another process starts is ready. Raises: StackError."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        running = home.running()
        if running is not None and running.ready:
            return running
        if not alive():
            raise StackError(_last_line(home.log("supervisor")).removeprefix("error: "))
        time.sleep(0.1)
    raise StackError(f"the stack was not ready within {timeout:.0f} s: see `banyan logs`")


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1] if lines else f"the stack did not start: see {log}"
