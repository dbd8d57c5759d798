"""Whatever the gateway accepts, two other parsers read as it does; how the bytes are split changes nothing."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance.loop import run
from tests.fuzz import answers
from tests.fuzz.framing import check, fuzz, mutated, split
from tests.fuzz.readers import Disagreement, by_llhttp, requests_in
from tests.fuzz.wire import wired

TOKEN = st.text("!#$%&'*+.^`|~-abcXYZ019", min_size=1, max_size=12).map(lambda name: f"X{name}".encode())
VALUE = st.binary(max_size=30).map(lambda raw: bytes(b for b in raw if b >= 32 and b != 127).strip())
PATH = st.text("abcXYZ019-_~!$&'()*+,;=:@/?", max_size=20).map(lambda path: b"/" + path.encode())


@dataclass(frozen=True)
class Message:
    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes
    chunks: list[bytes] | None
    trailers: list[tuple[bytes, bytes]]

    def encoded(self) -> bytes:
        lines = [b"%b %b HTTP/1.1" % (self.method, self.target), b"Host: a.example:8080"]
        lines += [b"%b: %b" % header for header in self.headers]
        if self.chunks is None:
            return b"\r\n".join([*lines, b"Content-Length: %d" % len(self.body), b"", self.body])
        coded = b"".join(b"%x;ext\r\n%b\r\n" % (len(chunk), chunk) for chunk in self.chunks) + b"0\r\n"
        coded += b"".join(b"%b: %b\r\n" % trailer for trailer in self.trailers) + b"\r\n"
        return b"\r\n".join([*lines, b"Transfer-Encoding: chunked", b"", coded])


@st.composite
def messages(draw: st.DrawFn) -> Message:
    chunks = draw(st.none() | st.lists(st.binary(min_size=1, max_size=50), max_size=4))
    fields = st.lists(st.tuples(TOKEN, VALUE), max_size=4)
    return Message(
        draw(st.sampled_from([b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"])),
        draw(PATH),
        draw(fields),
        draw(st.binary(max_size=100)) if chunks is None else b"".join(chunks),
        chunks,
        draw(fields) if chunks is not None else [],
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(messages(), min_size=1, max_size=3), st.integers(0, 1 << 32))
def test_what_is_sent_arrives_as_h11_and_llhttp_read_it_however_it_is_split(sent: list[Message], seed: int) -> None:
    async def play() -> None:
        async with wired() as wire:
            data = b"".join(message.encoded() for message in sent)
            rng = random.Random(seed)
            told = await check(wire, data, [split(data, rng), split(data, rng)])
            assert len(told.seen) == len(sent)
            for message, (method, target, headers, body) in zip(sent, told.seen, strict=True):
                assert (method, target, body) == (message.method, message.target, message.body)
                own = [(name.lower(), value) for name, value in [*message.headers, *message.trailers]]
                assert [header for header in headers if header in own] == own

    run(play())


@pytest.mark.parametrize("seed", range(3))
def test_a_few_seconds_of_broken_requests_find_nothing(seed: int) -> None:
    tried, through = run(fuzz(3, seed))
    assert tried > 50
    assert through > 10, "if nothing gets through, nothing is tested"


@pytest.mark.parametrize("seed", range(2))
def test_a_few_seconds_of_broken_answers_find_nothing(seed: int) -> None:
    tried, through = run(answers.fuzz(3, seed))
    assert tried > 50
    assert through > 10, "if nothing gets through, nothing is tested"


@pytest.mark.parametrize(
    ("passed", "data"),
    [
        # Found by the fuzzing: a pipelined request was forgotten when the client half-closed at that moment.
        (2, b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n"),
        # A half-close before the rest of a pipelined body left the connection waiting for it.
        (1, b"GET / HTTP/1.1\r\nHost: a\r\n\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc"),
        # A bare LF was a 400 or a 501, by what had come so far.
        (0, b"TRACE / HTTP/1.1\r\nHost: a\r_\n\r\n\r\n"),
    ],
)
def test_what_was_found_once_stays_mended(passed: int, data: bytes) -> None:
    async def play() -> None:
        async with wired() as wire:
            told = await check(wire, data, [[data[:cut], data[cut:]] for cut in range(1, len(data))])
            assert len(told.seen) == passed

    run(play())


def test_the_check_finds_what_it_is_there_to_find() -> None:
    smuggled = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    with pytest.raises(Disagreement, match="llhttp refuses"):
        by_llhttp(smuggled)
    with pytest.raises(Disagreement, match="sees 0 requests"):
        by_llhttp(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab")
    assert requests_in(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET\0") == requests_in(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert len({mutated(random.Random(seed)) for seed in range(50)}) > 40
