"""The HTTP side of exchanges: limits, and what an answer's Date says of our clock."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from pi_agent.errors import Unreachable
from pi_agent.exchange import Exchange, Request, watched
from pi_agent.timekeeping import Timekeeper
from pi_agent.transport import MAX_BODY, Transport
from tests.integration.pi_agent.server import FakeServer


class WrongClock:
    """The real clock, off by `wrong`."""

    def __init__(self, wrong: timedelta = timedelta(0)) -> None:
        self.wrong = wrong

    def now(self) -> datetime:
        return datetime.now(UTC) + self.wrong

    def monotonic(self) -> float:
        return time.monotonic()


def get(path: str = "/get-schedule/17") -> Exchange[int]:
    response = yield Request("GET", path)
    return response.status


@pytest.fixture
def server() -> Iterator[FakeServer]:
    made = FakeServer().start()
    yield made
    made.stop()


async def test_the_skew_of_a_clock_is_seen_and_is_gone_when_the_clock_is_set_right_off_line(server: FakeServer) -> None:
    clock = WrongClock(timedelta(hours=-1))
    transport, timekeeper = Transport({"gateway": server.url}, 5, clock), Timekeeper()
    assert timekeeper.skew_s(clock.now(), clock.monotonic()) is None
    note = lambda response: timekeeper.note(response.headers["date"], clock.monotonic())  # noqa: E731
    await transport.run(watched(get(), note))
    server.stop()
    assert timekeeper.skew_s(clock.now(), clock.monotonic()) == pytest.approx(3600, abs=2)
    clock.wrong = timedelta(0)
    assert timekeeper.skew_s(clock.now(), clock.monotonic()) == pytest.approx(0, abs=2)
    await transport.close()


async def test_nobody_there_is_unreachable(server: FakeServer) -> None:
    server.stop()
    transport = Transport({"gateway": server.url}, 5, WrongClock())
    with pytest.raises(Unreachable):
        await transport.run(get())
    await transport.close()


def answering(content: bytes, drip_s: float | None = None) -> Iterator[str]:
    """A server that sends these bytes to whoever comes, byte by byte when told to."""
    over = threading.Event()

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            try:
                if drip_s is None:
                    connection.sendall(content)
                for byte in content if drip_s is not None else b"":
                    connection.sendall(bytes([byte]))
                    if over.wait(drip_s):
                        return
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        over.set()
        thread.join(5)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


@pytest.mark.parametrize(
    ("content", "drip_s", "reason"),
    [
        (HEAD % (MAX_BODY + 1) + b"x" * (MAX_BODY + 1), None, "longer than"),
        (HEAD % 1000 + b"x" * 1000, 0.2, "Timeout"),
        (b"nonsense\r\n\r\n", None, "illegal status line"),
        (HEAD % 10 + b"short", None, r"received 5 bytes, expected 10"),
    ],
)
async def test_an_answer_without_bounds_is_no_answer(content: bytes, drip_s: float | None, reason: str) -> None:
    for url in answering(content, drip_s):
        transport = Transport({"gateway": url}, 1.5, WrongClock())
        begun = time.monotonic()
        with pytest.raises(Unreachable, match=reason):
            await transport.run(get())
        assert time.monotonic() - begun < 4
        await transport.close()
