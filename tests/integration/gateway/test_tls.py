"""TLS towards clients: what is agreed on, and certificates that change while clients are connected."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from gateway.errors import SettingsRefused, TlsRefused
from gateway.settings import from_environment
from gateway.tls import Watched, expiry, listener_tls, server_context
from tests.integration.gateway.certificates import Authority
from tests.integration.gateway.running import Running, Start, environment, first, ready, run
from tests.integration.gateway.stage import until
from tests.integration.gateway.upstream import Upstream


@contextlib.asynccontextmanager
async def connected(
    port: int, context: ssl.SSLContext
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        yield reader, writer
    finally:
        writer.close()


def serial(writer: asyncio.StreamWriter) -> str:
    """Of the certificate that the other end showed."""
    return str(writer.get_extra_info("peercert")["serialNumber"])


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(b"GET /items HTTP/1.1\r\nHost: x\r\n\r\n")
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    await reader.readexactly(2)
    return head


@pytest.fixture
async def serving(tmp_path: Path, sides: tuple[Upstream, Upstream], starting: Start) -> tuple[Running, Authority, Path]:
    authority = Authority(tmp_path)
    pem = authority.sign("server.pem", "127.0.0.1")
    given = {"GATEWAY_TLS_LISTEN": "127.0.0.1:0", "GATEWAY_TLS_CERT": str(pem), "GATEWAY_TLS_KEY": str(pem)}
    gateway = await ready(starting(GATEWAY_TABLE=first(tmp_path, sides), GATEWAY_WORKERS="2", **given))
    return gateway, authority, pem


def tls_port(gateway: Running) -> int:
    return int(gateway.addresses["tls"].rpartition(":")[2])


async def test_clients_are_served_over_tls_and_plainly_and_upstreams_are_told_which(
    serving: tuple[Running, Authority, Path], sides: tuple[Upstream, Upstream]
) -> None:
    gateway, authority, _ = serving
    context = authority.client()
    context.set_alpn_protocols(["h2", "http/1.1"])
    async with connected(tls_port(gateway), context) as (reader, writer):
        assert (await ask(reader, writer)).startswith(b"HTTP/1.1 200")
        tls = writer.get_extra_info("ssl_object")
        assert tls.selected_alpn_protocol() == "http/1.1"
        assert tls.version() == "TLSv1.3"
    async with httpx.AsyncClient(base_url=gateway.url) as client:
        assert (await client.get("/items")).status_code == 200
    over_tls, plainly = sides[0].seen
    assert over_tls.headers["x-forwarded-proto"] == "https"
    assert "proto=https" in over_tls.headers["forwarded"]
    assert plainly.headers["x-forwarded-proto"] == "http"


async def test_a_new_certificate_serves_new_handshakes_while_connections_go_on(
    serving: tuple[Running, Authority, Path],
) -> None:
    gateway, authority, pem = serving
    port, context = tls_port(gateway), authority.client()
    failed = 0
    stop = asyncio.Event()

    async def client() -> None:
        nonlocal failed
        while not stop.is_set():
            try:
                async with connected(port, context) as streams:
                    failed += not (await ask(*streams)).startswith(b"HTTP/1.1 200")
            except (OSError, asyncio.IncompleteReadError):
                failed += 1
            await asyncio.sleep(0.02)

    async def serials() -> set[str]:
        """Of several handshakes, so that each worker is likely to be among them."""
        found = set()
        for _ in range(8):
            async with connected(port, context) as (_, writer):
                found.add(serial(writer))
        return found

    clients = [asyncio.create_task(client()) for _ in range(3)]
    (before,) = await serials()
    async with connected(port, context) as kept:
        await ask(*kept)
        authority.sign("server.pem", "127.0.0.1")  # found by its time, without a signal

        async def all_new() -> bool:
            found = await serials()
            return len(found) == 1 and found != {before}

        await until(all_new, within=30)
        assert (await ask(*kept)).startswith(b"HTTP/1.1 200")
        assert serial(kept[1]) == before
    stop.set()
    await asyncio.gather(*clients)
    assert failed == 0


async def test_a_certificate_that_cannot_be_used_leaves_the_old_one_and_is_told(
    serving: tuple[Running, Authority, Path],
) -> None:
    gateway, authority, pem = serving
    port, context = tls_port(gateway), authority.client()
    pem.write_bytes(b"half a certif")
    gateway.process.send_signal(signal.SIGHUP)

    async def figures() -> str:
        return (await asyncio.to_thread(httpx.get, f"http://{gateway.addresses['admin']}/metrics")).text

    async def told() -> bool:
        for line in (await figures()).splitlines():
            if line.startswith('banyan_gateway_tls_reload_failures_total{of="listener"}'):
                return float(line.split()[1]) >= 2  # each of the two workers
        return False

    await until(told, within=30)
    async with connected(port, context) as streams:
        assert (await ask(*streams)).startswith(b"HTTP/1.1 200")
    assert 'banyan_gateway_tls_certificate_expires_seconds{of="listener"}' in await figures()


async def test_old_protocols_and_plain_http_on_the_tls_port_are_turned_away(
    serving: tuple[Running, Authority, Path],
) -> None:
    gateway, authority, _ = serving
    old = authority.client()
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        async with connected(tls_port(gateway), old):
            pass
    reader, writer = await asyncio.open_connection("127.0.0.1", tls_port(gateway))
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        assert not (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP")
    writer.close()


async def test_a_refused_request_over_tls_gets_its_answer_and_an_orderly_end(
    serving: tuple[Running, Authority, Path],
) -> None:
    gateway, authority, _ = serving
    async with connected(tls_port(gateway), authority.client()) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nsome more")
        assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 400")


def test_a_wrong_pair_of_files_is_refused_before_anything_starts(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    one, other = authority.sign("one.pem", "127.0.0.1"), authority.sign("other.pem", "127.0.0.1")
    key = tmp_path / "other.key"
    key.write_bytes(b"-----BEGIN PRIVATE" + other.read_bytes().split(b"-----BEGIN PRIVATE")[1])
    given = {"GATEWAY_TLS_LISTEN": "127.0.0.1:0", "GATEWAY_TLS_CERT": str(one), "GATEWAY_TLS_KEY": str(key)}
    done = run(tmp_path / "state", "serve", **given)
    assert done.returncode == 1
    assert "GATEWAY_TLS_CERT" in done.stderr
    assert "key values mismatch" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"GATEWAY_TLS_LISTEN": "127.0.0.1:8443"}, "GATEWAY_TLS_CERT"),
        ({"GATEWAY_TLS_CERT": "/x.pem"}, "GATEWAY_TLS_CERT"),
        ({"GATEWAY_LISTEN": "off"}, "GATEWAY_LISTEN"),
        (
            {"GATEWAY_TLS_LISTEN": "127.0.0.1:8000", "GATEWAY_TLS_CERT": "/x", "GATEWAY_TLS_KEY": "/x",
             "GATEWAY_LISTEN": "127.0.0.1:8000"},
            "both",
        ),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_together_are_refused(tmp_path: Path, given: dict[str, str], name: str) -> None:
    with pytest.raises(SettingsRefused, match=name):
        from_environment({**environment(tmp_path), **given})


def test_a_key_with_a_password_is_refused_instead_of_asked_for(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    pem = Authority(tmp_path).sign("server.pem", "127.0.0.1")
    key = serialization.load_pem_private_key(pem.read_bytes(), None)
    locked = tmp_path / "locked.pem"
    secret = serialization.BestAvailableEncryption(b"secret")
    locked.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret))
    with pytest.raises(TlsRefused, match="password"):
        server_context(pem, locked)


def test_a_half_written_pair_is_tried_again_when_it_changes(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pem = authority.sign("server.pem", "127.0.0.1")
    watched = listener_tls(pem, pem)
    first_context, whole = watched.context, pem.read_bytes()
    assert not watched.refresh()
    pem.write_bytes(whole[:100])
    assert not watched.refresh()
    assert (watched.context, watched.failures) == (first_context, 1)
    assert not watched.refresh()
    assert watched.failures == 1  # told once for each change
    authority.sign("server.pem", "127.0.0.1", days=3)
    assert watched.refresh()
    assert watched.context is not first_context
    assert watched.expires == expiry(pem)


def test_files_behind_a_link_that_is_moved_are_seen_to_change(tmp_path: Path) -> None:
    """As Kubernetes changes a secret."""
    authority = Authority(tmp_path)
    one, other = authority.sign("one.pem", "127.0.0.1"), authority.sign("other.pem", "127.0.0.1")
    link = tmp_path / "current.pem"
    link.symlink_to(one)
    watched = Watched("test", (link,), lambda: server_context(link, link))
    (tmp_path / "fresh").symlink_to(other)
    (tmp_path / "fresh").replace(link)
    assert watched.refresh()
