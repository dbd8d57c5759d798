"""Reading heads and chunked bodies, for any split of the bytes."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http1.chunked import LAST_CHUNK, MOST_PIECES, ChunkedDecoder, encode_chunk
from gateway.http1.forward import client_head, upstream_head
from gateway.http1.head import Malformed, Request, parse_request, parse_response
from gateway.http1.hops import Hops
from gateway.http1.problem import problem


@st.composite
def split_bodies(draw: st.DrawFn) -> tuple[bytes, bytes, list[bytes], bytes]:
    """(payload, encoded, the encoded bytes in arbitrary pieces, what follows)."""
    pieces = draw(st.lists(st.binary(min_size=1, max_size=40), max_size=6))
    extension = draw(st.sampled_from([b"", b";a=b", b'; a="b"']))
    trailers = draw(st.sampled_from([b"", b"X-Sum: 1\r\n"]))
    coded = b"".join(b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces)
    coded += b"0\r\n" + trailers + b"\r\n"
    rest = draw(st.sampled_from([b"", b"GET / HTTP/1.1\r\n"]))
    cuts = sorted(draw(st.lists(st.integers(0, len(coded + rest)), max_size=12)))
    edges = [0, *cuts, len(coded + rest)]
    data = coded + rest
    return b"".join(pieces), coded, [data[a:b] for a, b in zip(edges, edges[1:], strict=False)], rest


@given(split_bodies())
def test_a_chunked_body_is_the_same_however_it_is_split(case: tuple[bytes, bytes, list[bytes], bytes]) -> None:
    payload, _, parts, rest = case
    decoder = ChunkedDecoder(strict=True)
    got, left = b"", b""
    for part in parts:
        if decoder.done:
            left += part
        else:
            got += b"".join(decoder.feed(part))
    assert decoder.done
    assert got == payload
    assert decoder.rest + left == rest


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=8))
def test_what_is_encoded_is_decoded(pieces: list[bytes]) -> None:
    decoder = ChunkedDecoder(strict=True)
    assert b"".join(decoder.feed(b"".join(map(encode_chunk, pieces)) + LAST_CHUNK)) == b"".join(pieces)
    assert decoder.done


def test_a_client_with_tiny_chunks_has_so_many_taken_at_once_and_no_more() -> None:
    decoder = ChunkedDecoder(strict=True)
    sent = bytes(range(256)) * 5
    got = decoder.feed(b"".join(encode_chunk(b"%c" % byte) for byte in sent) + LAST_CHUNK + b"GET /")
    turns = 1
    while decoder.more:
        assert len(got) == turns * MOST_PIECES
        got += decoder.feed(b"")
        turns += 1
    assert (b"".join(got), decoder.done, decoder.rest) == (sent, True, b"GET /")
    assert turns == 3


@pytest.mark.parametrize(
    "data",
    [
        b"x\r\n", b"-1\r\n", b"+1\r\n", b"0x1\r\n", b" 1\r\n", b"1 \r\n", b"\r\n", b"1\n", b"1\r\nab\r\n", b"1\r\na\n",
        b"0\r\nX : 1\r\n\r\n", b"0\r\n Y\r\n\r\n", b"1" * 16 + b"\r\n", b"1;" + b"x" * 300 + b"\r\n", b"1;\0\r\n",
        b"1;" + b"x" * 400,
    ],
)  # fmt: skip
def test_bad_chunks_are_refused_at_every_split(data: bytes) -> None:
    for cut in range(len(data)):
        decoder = ChunkedDecoder(strict=True)
        with pytest.raises(Malformed):
            [decoder.feed(part) for part in (data[:cut], data[cut:])]


def request(*lines: str) -> bytes:
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def sent_on(request: Request, peer: bytes = b"10.0.0.1", trusted: int = 0) -> bytes:
    return upstream_head(request, Hops(peer, b"http", trusted).lines(request), b"id-1", b"up:2")


def test_the_head_that_goes_on_keeps_what_is_the_clients_business() -> None:
    head = sent_on(parse_request(request("GET /a?b HTTP/1.1", "HOST: x:1", "X-A: 1", "x-a: 2", "Accept:  y ")))
    assert head.startswith(b"GET /a?b HTTP/1.1\r\nHOST: x:1\r\nX-A: 1\r\nx-a: 2\r\nAccept:  y \r\n")
    assert b"X-Forwarded-For: 10.0.0.1\r\n" in head
    assert b"X-Forwarded-Host: x:1\r\n" in head
    assert head.endswith(b"\r\n\r\n")
    assert parse_request(head).header(b"x-request-id") == b"id-1"


def test_http_10_becomes_http_11_with_a_host() -> None:
    head = sent_on(parse_request(request("GET / HTTP/1.0", "A: b")))
    assert head.startswith(b"GET / HTTP/1.1\r\n")
    assert parse_request(head).header(b"host") == b"up:2"


def test_only_the_gateway_speaks_for_itself_in_a_response() -> None:
    raw = request("HTTP/1.1 200 OK", "Banyan-Route: forged", "Content-Length: 0", "Banyan-Owner: legacy")
    head = client_head(parse_response(raw, b"GET"), b"Banyan-Route: true\r\n")
    assert head.count(b"Banyan-Route") == 1
    assert b"Banyan-Owner: legacy" in head


@pytest.mark.parametrize(
    "lines",
    [
        ("HTTP/1.1 200 OK", "Content-Length: 1", "Content-Length: 1"),
        ("HTTP/1.1 200 OK", "Content-Length: 1", "Transfer-Encoding: chunked"),
        ("HTTP/1.1 200 OK", "Transfer-Encoding: gzip"),
        ("HTTP/2 200 OK",),
        ("hello",),
    ],
)
def test_responses_that_cannot_be_trusted_are_refused(lines: tuple[str, ...]) -> None:
    with pytest.raises(Malformed):
        parse_response(request(*lines), b"GET")


@pytest.mark.parametrize(
    ("cookie", "value"),
    [("a=1; card=2", b"2"), ("card=", b""), ('card="q"', b"q"), ("cards=3", None), ("x=card=1", None)],
)
def test_cookies(cookie: str, value: bytes | None) -> None:
    assert parse_request(request("GET / HTTP/1.1", "Host: a", f"Cookie: {cookie}")).cookie(b"card") == value


def test_a_problem_says_what_is_wrong() -> None:
    head, _, body = problem(503, "it is moving", extra=b"Retry-After: 1\r\n", close=True).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert head.endswith(b"Connection: close")
    assert msgspec.json.decode(body)["detail"] == "it is moving"
    assert problem(503, "x", bodiless=True).endswith(b"\r\n\r\n")
