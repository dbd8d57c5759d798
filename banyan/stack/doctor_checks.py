"""What `banyan doctor` looks at: this machine, and the stack that runs on it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

import httpx
import psycopg

from banyan.errors import BanyanError
from banyan.servers.postgres import find_binaries
from banyan.servers.redis import find_binary
from banyan.stack.config import DIRECTIONS, SERVICES, read_env_file
from banyan.stack.home import Home, Running

_FREE_DISK = 2 * 1024**3  # bytes; ten years of prices, WAL and logs stay well below
_PATIENCE = 3  # seconds for each answer
_SLOT_SETTINGS = (
    "SELECT name, setting FROM pg_settings WHERE name IN ('max_slot_wal_keep_size', 'idle_replication_slot_timeout')"
)


@dataclass(frozen=True, slots=True)
class Check:
    what: str
    verdict: Literal["ok", "note", "bad"]
    detail: str


def machine(home: Home) -> list[Check]:
    """What the stack needs, and what tests and benches would like to have."""
    python = platform.python_version()
    checks = [
        Check("python", "ok" if sys.version_info >= (3, 11) else "bad", f"{python} (needs 3.11)"),
        _found("postgresql ≥ 16", find_binaries),
        _found("redis", find_binary),
        Check("cores", "ok" if (os.cpu_count() or 1) >= 2 else "note", f"{os.cpu_count()} (2 or more are comfortable)"),
        _disk(home),
    ]
    optional = {
        "nginx": "bench gateway",
        "wrk": "bench gateway",
        "chromium": "browser tests",
        "chromedriver": "browser tests",
    }
    for program, use in optional.items():
        path = shutil.which(program) or shutil.which(f"/usr/sbin/{program}")
        checks.append(
            Check(program, "ok" if path else "note", path or f"missing; only {use} needs it: apt-get install {program}")
        )
    return checks


def _found(what: str, find: Callable[[], object]) -> Check:
    try:
        return Check(what, "ok", str(find()))
    except BanyanError as error:
        return Check(what, "bad", str(error))


def _disk(home: Home) -> Check:
    """The one that the stack's folder is on, or will be."""
    folder = home.nearest
    if not os.access(folder, os.W_OK):
        return Check("disk", "bad", f"{folder} cannot be written to: set BANYAN_HOME to a folder of your own")
    free = shutil.disk_usage(folder).free
    return Check("disk", "ok" if free > _FREE_DISK else "bad", f"{free / 1024**3:.1f} GiB free at {folder} (needs 2)")


def stack(home: Home) -> list[Check]:
    """Does every process of the running stack live and answer?"""
    running = home.running()
    if running is None:
        words = "is starting or stopping" if home.is_locked() else "none running"
        return [Check("stack", "note", f"{words} in {home.path}; start one with `banyan up`")]
    env = read_env_file(home)
    urls = {
        "legacy": f"{env['BANYAN_LEGACY_URL']}/health",
        **{name: f"{env[f'BANYAN_{name.upper()}_URL']}/readyz" for name in SERVICES},
        "gateway": f"{env['BANYAN_GATEWAY_ADMIN_URL']}/readyz",
        "console": f"{env['BANYAN_CONSOLE_URL']}/readyz",
        "verify": f"{env['BANYAN_VERIFY_URL']}/readyz",
        **({"steward": f"{env['BANYAN_STEWARD_URL']}/readyz"} if "steward" in running.restarts else {}),
        **{
            f"cdc-{s}-{d}": f"{env[f'BANYAN_CDC_{s.upper()}_{d.upper()}_URL']}/readyz"
            for s in SERVICES
            for d in DIRECTIONS
        },
    }
    agents = [name for name in running.restarts if name.startswith("agent-")]
    words = "" if running.ready else "; it is still starting"
    with httpx.Client(timeout=_PATIENCE) as client, ThreadPoolExecutor() as pool:
        asked = [
            pool.submit(_connects, "pg-legacy", env["BANYAN_LEGACY_DSN"]),
            pool.submit(_connects, "pg-services", env["BANYAN_LEDGER_DSN"]),
            pool.submit(_bounds_slots, "slots-legacy", env["BANYAN_LEGACY_DSN"]),
            pool.submit(_bounds_slots, "slots-services", env["BANYAN_LEDGER_DSN"]),
            pool.submit(_pings, "redis", env["BANYAN_REDIS_URL"]),
            *(pool.submit(_answers, client, *u) for u in urls.items()),
            *(pool.submit(_lives, name, running) for name in agents),
        ]
        found = [_with_history(future.result(), running) for future in asked]
    return [
        Check(
            "stack", "ok" if running.ready else "note", f"pid {running.pid}, {len(running.processes)} processes{words}"
        ),
        *found,
    ]


def _with_history(check: Check, running: Running) -> Check:
    """What answers now may have fallen before, and what does not, says why in its log."""
    detail = check.detail
    if times := running.restarts.get(check.what, 0):
        detail += f"; fell and was restarted, {times} × since the start"
    if check.verdict == "bad" or times:
        detail += f"; see `banyan logs {check.what}`"
    return replace(check, verdict="note" if times and check.verdict == "ok" else check.verdict, detail=detail)


def _connects(name: str, dsn: str) -> Check:
    where = dsn.rpartition("@")[2]
    try:
        psycopg.connect(dsn, connect_timeout=_PATIENCE).close()
    except psycopg.OperationalError:
        return Check(name, "bad", f"{where} does not take connections")
    return Check(name, "ok", f"{where} connects")


def _bounds_slots(name: str, dsn: str) -> Check:
    """A stream that stands must lose its slot before the server loses its disk, and not because it was idle."""
    try:
        with psycopg.connect(dsn, connect_timeout=_PATIENCE) as connection:
            settings = dict(connection.execute(_SLOT_SETTINGS).fetchall())
    except psycopg.OperationalError:
        return Check(name, "bad", "cannot be asked")
    return judge_slots(name, settings)


def judge_slots(name: str, settings: Mapping[str, str]) -> Check:
    """`settings` by name, as pg_settings has them (megabytes; seconds). Pure."""
    kept, idle = settings.get("max_slot_wal_keep_size", "-1"), settings.get("idle_replication_slot_timeout", "0")
    if kept == "-1":
        words = "max_slot_wal_keep_size is -1: a stream that stands fills the disk; `banyan prepare` bounds it"
        return Check(name, "bad", words)
    if idle != "0":
        words = (
            f"idle_replication_slot_timeout is {idle} s: a stream that is away for longer loses its slot; set it to 0"
        )
        return Check(name, "note", words)
    return Check(name, "ok", f"a slot keeps {int(kept):,} MB of WAL at most")


def _pings(name: str, url: str) -> Check:
    import redis  # slow to import: `banyan up` and `down` share this module's command file

    where = url.rpartition("@")[2]
    try:
        with redis.Redis.from_url(url, socket_timeout=_PATIENCE) as client:
            client.ping()
    except redis.RedisError:
        return Check(name, "bad", f"{where} does not answer")
    return Check(name, "ok", f"{where} answers")


def _answers(client: httpx.Client, name: str, url: str) -> Check:
    try:
        response = client.get(url)
    except httpx.HTTPError as error:
        return Check(name, "bad", f"{url}: {type(error).__name__}")
    return Check(name, "ok" if response.status_code == 200 else "bad", f"{url} {response.status_code}")


def _lives(name: str, running: Running) -> Check:
    pid = running.processes.get(name)
    try:
        if pid is not None:
            os.kill(pid, 0)
            return Check(name, "ok", f"pid {pid}")
    except ProcessLookupError:
        pass
    return Check(name, "bad", "is not running")
