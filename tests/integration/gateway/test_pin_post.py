"""A worker tells the relay of every write, however many there are and whatever becomes of the relay."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.policies import sharing
from gateway.policies.pins import SLOTS, PinBoard
from gateway.policies.sharing import MOST_SECONDS, PinPost
from tests.integration.gateway.stage import until


class Relay:
    """The other end of the socket: answers when the test lets it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[tuple[int, set[int]]] = []  # all ever
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self.path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        while line := await reader.readline():
            assert len(line) < 64 * 1024
            number, *slots = map(int, line.split())
            self.lines.append((number, set(slots)))
        writer.close()

    def answer(self, *numbers: int) -> None:
        self._writers[-1].write(b"".join(b"%d\n" % number for number in numbers))

    async def die(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()
        await asyncio.sleep(0)

    @property
    def slots(self) -> list[set[int]]:
        return [slots for _, slots in self.lines]


class Writes:
    """What has been let go of."""

    def __init__(self, post: PinPost) -> None:
        self._post = post
        self.answered: list[int] = []
        self._count = 0

    def tell(self, *slots: int) -> bool:
        number, self._count = self._count, self._count + 1
        return self._post.tell(slots, lambda: self.answered.append(number))


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[Relay]:
    made = Relay(tmp_path / "pins.sock")
    await made.start()
    yield made
    await made.die()


@pytest.fixture
def board() -> PinBoard:
    return PinBoard(shared=True)


@pytest.fixture
async def post(relay: Relay, board: PinBoard) -> AsyncIterator[PinPost]:
    made = PinPost(board, relay.path)
    await until(lambda: made._transport is not None)
    yield made
    await made.close()


async def test_beyond_the_bound_writes_are_told_together_and_still_wait(
    relay: Relay, post: PinPost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "MOST_WAITING", 3)
    writes = Writes(post)
    assert all(writes.tell(slot % 50) for slot in range(1000)), "every answer waits"
    await until(lambda: len(relay.lines) == 3)
    relay.answer(1)
    await until(lambda: len(relay.lines) == 4)
    assert relay.slots == [{0}, {1}, {2}, set(range(50))], "bounded by the number of slots"
    assert writes.answered == [0]
    relay.answer(4)
    await until(lambda: len(writes.answered) == 998)
    assert set(range(1000)) - set(writes.answered) == {1, 2}


async def test_more_slots_than_a_line_holds_are_told_in_several_and_all_must_be_answered(
    relay: Relay, post: PinPost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "MOST_WAITING", 1)
    monkeypatch.setattr(sharing, "MOST_SECONDS", 60)
    writes = Writes(post)
    writes.tell(1)
    assert writes.tell(*range(SLOTS))
    await until(lambda: len(relay.lines) == 1)
    relay.answer(1)
    await until(lambda: len(relay.lines) == 1 + -(-SLOTS // sharing.MOST_SLOTS))
    assert set().union(*relay.slots) == set(range(SLOTS))
    *most, last = [number for number, _ in relay.lines[1:]]
    relay.answer(*most)
    await until(lambda: len(post._asked) == 1)
    assert writes.answered == [0]
    relay.answer(last)
    await until(lambda: writes.answered == [0, 1])


async def test_what_a_relay_had_not_answered_is_told_to_the_next_one(
    relay: Relay, post: PinPost, board: PinBoard
) -> None:
    writes = Writes(post)
    board.heard_at(time.monotonic())
    assert writes.tell(7)
    await until(lambda: len(relay.lines) == 1)
    await relay.die()
    await until(lambda: post._transport is None)
    assert writes.tell(8), "the others trust their boards for a while yet"
    board.heard_at(time.monotonic())
    await relay.start()
    await until(lambda: len(relay.lines) == 2)
    assert (relay.slots[1], writes.answered) == ({7, 8}, [])
    relay.answer(relay.lines[1][0])
    await until(lambda: sorted(writes.answered) == [0, 1])


async def test_nobody_waits_for_a_relay_that_all_nodes_have_missed(
    relay: Relay, post: PinPost, board: PinBoard
) -> None:
    writes = Writes(post)
    await relay.die()
    await until(lambda: post._transport is None)
    heard = time.monotonic() - MOST_SECONDS + 0.3
    board.heard_at(heard)
    assert writes.tell(7)
    await until(lambda: writes.answered == [0])
    assert time.monotonic() >= heard + MOST_SECONDS - 0.01
    assert not writes.tell(8)


async def test_who_waits_for_an_absent_relay_goes_on_waiting_while_it_is_heard_of(
    relay: Relay, post: PinPost, board: PinBoard
) -> None:
    """A new one lives, and will take the write: until then nobody else knows of it."""
    writes = Writes(post)
    await relay.die()
    await until(lambda: post._transport is None)
    board.heard_at(time.monotonic() - MOST_SECONDS + 0.1)
    assert writes.tell(7)
    board.heard_at(time.monotonic())
    looks = post._look
    await until(lambda: post._look is not looks)
    assert writes.answered == []
    await relay.start()
    await until(lambda: relay.slots == [{7}])
