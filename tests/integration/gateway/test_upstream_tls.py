"""TLS towards the servers: who is trusted, under which name, and what a client hears when nobody is."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.control.table import RouteTable, decode_table, encode_table
from gateway.control.table import Upstream as UpstreamTable
from gateway.errors import TableRefused
from gateway.tls import refuse_unusable
from tests.integration.gateway.certificates import Authority
from tests.integration.gateway.stage import Stage, first_table, side, staged, until
from tests.integration.gateway.upstream import Seen, read_request, response


class SecureServer:
    """Answers 200 over TLS and counts."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self.seen: list[Seen] = []
        self.health = 0
        self.names: list[str | None] = []
        context.sni_callback = lambda _, name, __: self.names.append(name)
        self.port = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                seen = await read_request(reader)
                if seen.target == "/health":
                    self.health += 1
                else:
                    self.seen.append(seen)
                writer.write(response(body=b"safe"))
                await writer.drain()
        writer.close()

    def close(self) -> None:
        if self._server is not None:
            self._server.close()


@contextlib.asynccontextmanager
async def secured(context: ssl.SSLContext, **settings: Any) -> AsyncIterator[tuple[Stage, SecureServer]]:
    """A stage and a TLS server beside it."""
    server = SecureServer(context)
    await server.start()
    async with staged(**settings) as stage:
        yield stage, server
    server.close()


def to(stage: Stage, name: str, port: int, *, host: str = "127.0.0.1", **more: Any) -> RouteTable:
    """The next table: this upstream is reached over TLS."""
    table = stage.gateway.router.table
    upstream = UpstreamTable([f"https://{host}:{port}"], **more)
    return msgspec.structs.replace(
        table, version=table.version + 1, upstreams={**table.upstreams, name: upstream}
    ).validated()


async def test_a_trusted_server_is_asked_and_its_health_too(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with secured(authority.server(authority.sign("s.pem", "127.0.0.1"))) as (stage, server):
        stage.gateway.swap(to(stage, "legacy", server.port, ca=str(authority.file)))
        for _ in range(3):
            assert (await stage.client.get("/items")).text == "safe"
        await until(lambda: server.health)
        assert stage.gateway.pools["legacy"].healthy
        assert len(server.seen) == 3


async def test_the_name_is_sent_and_checked(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with secured(authority.server(authority.sign("s.pem", "legacy.internal"))) as (stage, server):
        stage.gateway.swap(to(stage, "legacy", server.port, ca=str(authority.file)))
        answer = await stage.client.get("/items")
        assert answer.status_code == 502
        assert "certificate" in answer.json()["detail"]
        known = {"ca": str(authority.file), "server_name": "legacy.internal"}
        stage.gateway.swap(to(stage, "legacy", server.port, **known))
        assert (await stage.client.get("/items")).text == "safe"
        assert "legacy.internal" in server.names


@pytest.mark.parametrize("what", ["unknown authority", "expired"])
async def test_a_server_that_cannot_be_trusted_gets_nothing_and_the_client_a_502(tmp_path: Path, what: str) -> None:
    authority = Authority(tmp_path)
    signer = Authority(tmp_path, "stranger") if what == "unknown authority" else authority
    pem = signer.sign("s.pem", "127.0.0.1", days=-1 if what == "expired" else 30)
    async with secured(authority.server(pem)) as (stage, server):
        stage.gateway.swap(to(stage, "legacy", server.port, ca=str(authority.file)))
        answer = await stage.client.post("/items", content=b"secret")
        assert answer.status_code == 502
        assert "certificate is not valid" in answer.json()["detail"]
        assert server.seen == []
        await until(lambda: not stage.gateway.pools["legacy"].healthy)


async def test_reads_fall_back_to_legacy_and_the_breaker_opens(tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger")
    known = Authority(tmp_path)
    pem = stranger.sign("s.pem", "127.0.0.1")
    async with secured(stranger.server(pem), health_interval=60, breaker_reset=60) as (stage, server):
        stage.gateway.swap(to(stage, "shop", server.port, ca=str(known.file)))
        stage.wave(phase="service", owner="service")
        for _ in range(8):
            answer = await stage.client.get("/items")
            assert (answer.status_code, side(answer)) == (200, "legacy")
        assert stage.gateway.breaker("shop", "service").state == "open"
        assert server.seen == []


async def test_a_plain_server_behind_an_https_url_is_a_502(tmp_path: Path) -> None:
    authority = Authority(tmp_path)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with staged() as stage:
        stage.gateway.swap(to(stage, "legacy", server.sockets[0].getsockname()[1], ca=str(authority.file)))
        answer = await stage.client.get("/items")
        assert answer.status_code == 502
        assert "secure connection" in answer.json()["detail"]
    server.close()


async def test_a_client_certificate_is_shown_to_a_server_that_asks(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = authority.server(authority.sign("s.pem", "127.0.0.1"), asks_clients=True)
    own = authority.sign("gateway.pem", "gateway.internal")
    async with secured(context) as (stage, server):
        stage.gateway.swap(to(stage, "legacy", server.port, ca=str(authority.file)))
        assert (await stage.client.get("/items")).status_code in (502, 503)
        assert server.seen == []
        stage.gateway.swap(to(stage, "legacy", server.port, ca=str(authority.file), certificate=str(own)))
        assert (await stage.client.get("/items")).text == "safe"


async def test_a_body_of_a_megabyte_goes_both_ways(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    big = b"x" * (1 << 20)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                seen = await read_request(reader)
                writer.write(response(body=seen.body))
                await writer.drain()

    context = authority.server(authority.sign("s.pem", "127.0.0.1"))
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context, limit=1 << 22)
    port = server.sockets[0].getsockname()[1]
    async with staged() as stage:
        stage.gateway.swap(to(stage, "legacy", port, ca=str(authority.file)))
        assert (await stage.client.post("/items", content=big)).content == big
    server.close()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"urls": ["http://a:1", "https://b:2"]}, "mixes http and https"),
        ({"urls": ["http://a:1"], "ca": "/ca.pem"}, "ca is for https"),
        ({"urls": ["https://a:1"], "ca": "ca.pem"}, "absolute path"),
        ({"urls": ["https://a:1"], "certificate_key": "/k.pem"}, "without a certificate"),
        ({"urls": ["https://a:1"], "server_name": "a b"}, "server_name"),
        ({"urls": ["ftp://a:1"]}, "url must be"),
    ],
)
def test_a_table_with_wrong_tls_is_refused(changes: dict[str, Any], reason: str) -> None:
    table = first_table("http://127.0.0.1:1", "http://127.0.0.1:2")
    doc = msgspec.json.decode(encode_table(table))
    doc["upstreams"]["shop"] = changes
    with pytest.raises(TableRefused, match=reason):
        decode_table(msgspec.json.encode(doc))


def test_files_that_a_table_names_must_be_usable_here(tmp_path: Path) -> None:
    ca = tmp_path / "missing.pem"
    table = first_table("http://127.0.0.1:1", "http://127.0.0.1:2")
    upstreams = {**table.upstreams, "shop": UpstreamTable(["https://127.0.0.1:2"], ca=str(ca))}
    table = msgspec.structs.replace(table, upstreams=upstreams)
    with pytest.raises(TableRefused, match=r"upstream shop: ca .*missing\.pem: No such file"):
        refuse_unusable(table)
    ca.write_text("not a certificate")
    with pytest.raises(TableRefused, match="missing.pem"):
        refuse_unusable(table)


async def test_a_new_authority_is_taken_from_its_file(tmp_path: Path) -> None:
    old, new = Authority(tmp_path, "old"), Authority(tmp_path, "new")
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(old.file.read_bytes())
    async with secured(new.server(new.sign("s.pem", "127.0.0.1"))) as (stage, server):
        stage.gateway.swap(to(stage, "legacy", server.port, ca=str(trusted)))
        assert (await stage.client.get("/items")).status_code == 502
        trusted.write_bytes(new.file.read_bytes())
        assert stage.gateway.upstreams.tls["legacy"].refresh()
        assert (await stage.client.get("/items")).text == "safe"
