"""What `banyan doctor` looks at: this machine, and the stack that runs on it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import httpx

from banyan.errors import BanyanError
from banyan.servers.postgres import find_binaries
from banyan.servers.redis import find_binary
from banyan.stack.config import DIRECTIONS, SERVICES, read_env_file
from banyan.stack.home import Home

_FREE_DISK = 2 * 1024**3  # bytes; ten years of prices, WAL and logs stay well below


@dataclass(frozen=True, slots=True)
class Check:
    what: str
    verdict: Literal["ok", "note", "bad"]
    detail: str


def machine() -> list[Check]:
    """What the stack needs, and what tests and benches would like to have."""
    python = platform.python_version()
    checks = [
        Check("python", "ok" if sys.version_info >= (3, 11) else "bad", f"{python} (needs 3.11)"),
        _found("postgresql ≥ 16", find_binaries),
        _found("redis", find_binary),
        Check("cores", "ok" if (os.cpu_count() or 1) >= 2 else "note", f"{os.cpu_count()} (2 or more are comfortable)"),
    ]
    free = shutil.disk_usage(".").free
    checks.append(Check("disk", "ok" if free > _FREE_DISK else "bad", f"{free / 1024**3:.0f} GiB free (needs 2)"))
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


def stack(home: Home) -> list[Check]:
    """Does every process of the running stack answer?"""
    running = home.running()
    if running is None:
        return [Check("stack", "note", f"none running in {home.path}; start one with `banyan up`")]
    env = read_env_file(home)
    urls = {
        "legacy": f"{env['BANYAN_LEGACY_URL']}/health",
        **{name: f"{env[f'BANYAN_{name.upper()}_URL']}/readyz" for name in SERVICES},
        "gateway": f"{env['BANYAN_GATEWAY_ADMIN_URL']}/readyz",
        "console": f"{env['BANYAN_CONSOLE_URL']}/readyz",
        **{
            f"cdc-{s}-{d}": f"{env[f'BANYAN_CDC_{s.upper()}_{d.upper()}_URL']}/readyz"
            for s in SERVICES
            for d in DIRECTIONS
        },
    }
    with httpx.Client(timeout=3) as client:
        return [
            Check("stack", "ok", f"pid {running.pid}, {len(running.processes)} processes"),
            *(_answers(client, *u) for u in urls.items()),
        ]


def _answers(client: httpx.Client, name: str, url: str) -> Check:
    try:
        response = client.get(url)
    except httpx.HTTPError as error:
        return Check(name, "bad", f"{url}: {type(error).__name__}; see `banyan logs {name}`")
    verdict: Literal["ok", "bad"] = "ok" if response.status_code == 200 else "bad"
    return Check(
        name, verdict, f"{url} {response.status_code}" + ("" if verdict == "ok" else f"; see `banyan logs {name}`")
    )
