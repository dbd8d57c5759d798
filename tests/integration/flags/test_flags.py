"""The flag service over HTTP: OFREP's answers, its errors, and where the value comes from."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from console.flags import create_flags_router
from console.flags_source import FRESH_S, RETRY_S, RouteTableOwnership, from_admin_api
from gateway.control.table import Domain, RouteTable, Upstream, Wave, encode_table
from gateway.errors import AdminUnreachable
from gateway.routing.bucket import bucket

BULK = "/ofrep/v1/evaluate/flags"
ONE = f"{BULK}/device-backend"


def client_of(owner_of: Callable[[str], str | None]) -> TestClient[Litestar]:
    return TestClient(Litestar([create_flags_router(owner_of)]))


def context(device: object) -> dict[str, object]:
    return {"context": {"targetingKey": device}}


def table(owner: str, split: int = 512) -> RouteTable:
    """Buckets below `split` have the owner, the others are legacy's."""
    waves = [Wave(0, 0, split, "service", owner=owner, epoch=1), Wave(1, split, 1024)]  # type: ignore[arg-type]
    upstream = Upstream(["http://127.0.0.1:1"])
    return RouteTable(1, {"legacy": upstream, "devices": upstream}, {"devices": Domain("devices", waves)})


def device_with_bucket(condition: Callable[[int], bool]) -> str:
    return next(str(n) for n in range(1, 10_000) if condition(bucket(str(n))))


@pytest.mark.parametrize(
    ("owner", "value", "reason"),
    [
        ("service", "v2", "SPLIT"),
        ("legacy", "legacy", "SPLIT"),
        ("moving", "legacy", "SPLIT"),
        (None, "legacy", "DEFAULT"),
    ],
)
def test_the_value_follows_the_owner_of_the_devices_wave(owner: str | None, value: str, reason: str) -> None:
    with client_of(lambda device: owner if device == "7" else "wrong device") as client:
        one = client.post(ONE, json=context("7"))
        assert one.status_code == 200
        assert one.json() == {
            "key": "device-backend",
            "value": value,
            "variant": value,
            "reason": reason,
            "metadata": {"owner": owner or "unknown"},
        }
        assert client.post(BULK, json=context("7")).json() == {"flags": [one.json()]}


def test_a_bulk_answer_that_has_not_changed_is_a_304() -> None:
    owner = ["legacy"]
    with client_of(lambda device: owner[0]) as client:
        etag = client.post(BULK, json=context("7")).headers["etag"]
        for condition in (etag, f"W/{etag}", f'"other", {etag}', "*"):
            again = client.post(BULK, json=context("7"), headers={"If-None-Match": condition})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
        owner[0] = "service"
        changed = client.post(BULK, json=context("7"), headers={"If-None-Match": etag})
        assert changed.status_code == 200
        assert changed.headers["etag"] != etag


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "PARSE_ERROR"),
        (b"[]", "PARSE_ERROR"),
        (b"", "PARSE_ERROR"),
        (b"\xff\xfe", "PARSE_ERROR"),
        (b"[" * 8000, "PARSE_ERROR"),
        (b"{}", "TARGETING_KEY_MISSING"),
        (b'{"context":{}}', "TARGETING_KEY_MISSING"),
        (b'{"context":{"targetingKey":""}}', "TARGETING_KEY_MISSING"),
        (b'{"context":[]}', "INVALID_CONTEXT"),
        (b'{"context":{"targetingKey":7}}', "INVALID_CONTEXT"),
        (b'{"context":{"targetingKey":"' + b"9" * 200 + b'"}}', "INVALID_CONTEXT"),
    ],
)
def test_a_bad_body_is_a_400_with_an_error_code(body: bytes, code: str) -> None:
    with client_of(lambda device: pytest.fail("evaluated")) as client:
        for path, key in ((BULK, None), (ONE, "device-backend")):
            answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code == 400
            assert answer.json()["errorCode"] == code
            assert answer.json()["errorDetails"]
            assert answer.json().get("key") == key


def test_an_unknown_flag_is_a_404_and_a_huge_body_is_refused() -> None:
    with client_of(lambda device: "legacy") as client:
        missing = client.post(f"{BULK}/nonsense", json=context("7"))
        assert (missing.status_code, missing.json()["key"], missing.json()["errorCode"]) == (
            404,
            "nonsense",
            "FLAG_NOT_FOUND",
        )
        assert client.post(BULK, content=b" " * 100_000).status_code == 413


def test_devices_of_one_domain_differ_by_wave() -> None:
    source = RouteTableOwnership(lambda: table("service", split=512))
    moved, not_moved = device_with_bucket(lambda b: b < 512), device_with_bucket(lambda b: b >= 512)
    with client_of(source.owner_of) as client:
        assert client.post(ONE, json=context(moved)).json()["value"] == "v2"
        assert client.post(ONE, json=context(not_moved)).json()["value"] == "legacy"


def test_the_last_known_table_stays_good_while_the_gateway_is_away() -> None:
    now, answers = [0.0], [table("service")]
    asked: list[float] = []

    def read() -> RouteTable:
        asked.append(now[0])
        if not answers:
            raise AdminUnreachable("nobody there")
        return answers[-1]

    source = RouteTableOwnership(read, monotonic=lambda: now[0])
    device = device_with_bucket(lambda b: b < 512)
    assert source.owner_of(device) == "service"
    now[0] += FRESH_S / 2
    assert source.owner_of(device) == "service"
    assert len(asked) == 1, "asked again while the answer was fresh"
    answers.clear()
    now[0] += FRESH_S
    assert source.owner_of(device) == "service"
    now[0] += RETRY_S / 2
    source.owner_of(device)
    assert len(asked) == 2, "asked again at once after a failure"
    answers.append(table("legacy"))
    now[0] += RETRY_S
    assert source.owner_of(device) == "legacy"


def test_nothing_is_known_before_the_gateway_answered_once() -> None:
    def read() -> RouteTable:
        raise AdminUnreachable("nobody there")

    assert RouteTableOwnership(read).owner_of("7") is None


@pytest.fixture
def admin_api() -> Iterator[tuple[str, list[str]]]:
    """An admin API that gives a table to whoever knows its token; yields its address and the tokens that came."""
    tokens: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            tokens.append(self.headers.get("Authorization", ""))
            good = tokens[-1] == "Bearer secret" and self.path == "/v1/table"
            body = encode_table(table("service", split=1023)) if good else b"{}"
            self.send_response(200 if good else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", tokens
        server.shutdown()


def test_the_source_reads_the_admin_api_with_its_token(admin_api: tuple[str, list[str]]) -> None:
    url, tokens = admin_api
    assert from_admin_api(url, "secret").owner_of("7") == "service"
    assert from_admin_api(url, "wrong").owner_of("7") is None
    assert tokens == ["Bearer secret", "Bearer wrong"]
