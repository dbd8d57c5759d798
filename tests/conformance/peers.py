"""Envoy and nginx in front of an origin, configured as for the benchmark: what they do by themselves is compared."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from banyan.errors import ServerFailed
from banyan.servers.ports import free_port
from load.bench import contestants
from load.bench.envoy_config import envoy_configuration
from tests.conformance.origin import Origin

Peer = Callable[[Path, Origin], AbstractAsyncContextManager[int]]


@asynccontextmanager
async def envoy(folder: Path, origin: Origin) -> AsyncIterator[int]:
    """Its port. With the upgrade to WebSocket allowed, without active health checks (the origin would note them)."""
    port = free_port()
    document = envoy_configuration(port, origin.port, folder / "envoy-access.log", mirror=False)
    manager = document["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    manager["upgrade_configs"] = [{"upgrade_type": "websocket"}]
    manager["http_protocol_options"] = {"accept_http_10": True}
    manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"].pop("retry_policy")
    manager["delayed_close_timeout"] = "0.1s"  # instead of 1 s, so that its closing can be told from silence
    for cluster in document["static_resources"]["clusters"]:
        cluster.pop("health_checks", None)
        cluster.pop("outlier_detection", None)  # a hundred bad answers in a row are what these cases are made of
    path = folder / "envoy.json"
    path.write_text(json.dumps(document))
    command = [
        contestants._envoy(),
        "-c",
        str(path),
        "--concurrency",
        "1",
        "--log-level",
        "error",
        "--use-dynamic-base-id",
    ]
    async with _running("envoy", command, port, folder / "envoy.log"):
        yield port


@asynccontextmanager
async def nginx(folder: Path, origin: Origin) -> AsyncIterator[int]:
    """Its port. With the upgrade to WebSocket as nginx's manual has it."""
    port = free_port()
    http = (
        "map $http_upgrade $connection_upgrade { default upgrade; '' ''; }\n"
        f"upstream legacy {{ server 127.0.0.1:{origin.port} max_fails=0; keepalive 16; }}\n"
        f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://legacy; proxy_http_version 1.1; "
        "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade; "
        "proxy_set_header Host $http_host; proxy_set_header X-Request-Id $request_id; "
        "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }} }}".replace("}} }}", "} }")
    )
    command = contestants._nginx_command(folder, "nginx", http, ())
    async with _running("nginx", command, port, folder / "nginx.log"):
        yield port


@asynccontextmanager
async def _running(name: str, command: Sequence[str], port: int, log: Path) -> AsyncIterator[None]:
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        async with asyncio.timeout(20):
            while not await _answers(port):
                if process.poll() is not None:
                    raise ServerFailed(f"{name} ended: {log.read_text(errors='replace').strip()[-400:]}")
                await asyncio.sleep(0.05)
        yield
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)


async def _answers(port: int) -> bool:
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        return True
    return False


PEERS: dict[str, Peer] = {"Envoy": envoy, "nginx": nginx}
