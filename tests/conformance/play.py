"""Plays a case to a gateway and says in which points it did otherwise."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from tests.conformance.case import Await, Case, Saw, Value
from tests.conformance.message import BadForm, Message, read_response
from tests.conformance.origin import PROBE, Origin

_PROBE = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % PROBE.encode()


@dataclass(slots=True)
class Outcome:
    """`then`: kept, closed, silent (no answer in time) or garbled."""

    responses: list[Message]
    then: str
    seen: list[Message]

    def __str__(self) -> str:
        statuses = " ".join(str(response.status) for response in self.responses) or "nothing"
        passed = "" if not self.seen else f", {len(self.seen)} passed on" if len(self.seen) > 1 else ", passed on"
        return f"{statuses}, {self.then}{passed}"


async def play(case: Case, port: int, origin: Origin, patience: float = 5.0) -> Outcome:
    """`patience`: seconds for each thing that is waited for."""
    origin.answer, origin.seen = case.answer, []
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    responses: list[Message] = []
    then = ""
    try:
        async with asyncio.timeout(patience):
            await _send(case, reader, writer)
        for _ in case.status:
            async with asyncio.timeout(patience):
                response = await read_response(reader, head=case.head)
            if response is None:
                then = "closed"
                break
            responses.append(response)
            if not response.whole:
                then = "closed"
        if not then:
            async with asyncio.timeout(patience):
                then = await _probe(case, reader, writer, responses)
    except TimeoutError:
        then = "silent"
    except BadForm:
        then = "garbled"
    finally:
        writer.transport.abort()
    whole = [message for message in origin.seen if message.whole or message.line.startswith("MALFORMED")]
    return Outcome(responses, then, origin.seen if case.answer.early else whole)


async def _send(case: Case, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for part in case.sent:
        if isinstance(part, Await):
            while part.data not in bytes(reader._buffer) and not reader.at_eof():
                await asyncio.sleep(0.001)
        else:
            writer.write(part)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
            await asyncio.sleep(0)  # the gateway may read this part alone
    if case.eof and writer.can_write_eof():
        writer.write_eof()


async def _probe(
    case: Case, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, responses: list[Message]
) -> str:
    """Does the gateway answer one more request on this connection, or hand bytes through?"""
    if responses and responses[-1].status == 101:
        writer.write(b"through")
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"through")
            return "tunnel"
        return "closed"
    if not case.eof:
        writer.write(_PROBE)
    try:
        answer = await read_response(reader, head=False)
    except ConnectionError:
        return "closed"
    if answer is None:
        return "closed"
    if answer.body == b"probe":
        return "kept"
    responses.append(answer)
    return "answered again"


def judge(case: Case, outcome: Outcome) -> list[str]:
    """Every point in which the outcome is not what the case says."""
    wrong = []
    statuses = tuple(response.status for response in outcome.responses)
    if statuses != case.status:
        wrong.append(f"status {_listed(statuses)}, not {_listed(case.status)}")
    if outcome.then != case.then:
        wrong.append(f"then {outcome.then}, not {case.then}")
    if len(outcome.seen) != len(case.seen):
        wrong.append(f"upstream saw {[m.line for m in outcome.seen]}, not {len(case.seen)} requests")
    for expected, message in zip(case.seen, outcome.seen, strict=False):
        wrong += _compare_request(expected, message)
    if case.got is not None and outcome.responses:
        got, last = case.got, outcome.responses[-1]
        wrong += [f"to the client: {text}" for text in _compare_fields(got.has, last)]
        if got.body is not None and last.body != got.body:
            wrong.append(f"body to the client {last.body[:60]!r}, not {got.body[:60]!r}")
        if last.trailers != got.trailers:
            wrong.append(f"trailers to the client {last.trailers}, not {got.trailers}")
        if tuple(last.early) != got.early:
            wrong.append(f"early responses {last.early}, not {list(got.early)}")
        if last.whole != got.whole:
            wrong.append("a broken response looks whole" if last.whole else "the response is broken off")
    return wrong


def _listed(statuses: tuple[int, ...]) -> str:
    return " ".join(map(str, statuses)) or "none"


def _compare_request(expected: Saw, message: Message) -> list[str]:
    wanted = f"{expected.method} {expected.target} HTTP/1.1"
    wrong = [] if message.line == wanted else [f"upstream saw {message.line!r}, not {wanted!r}"]
    wrong += [f"to the upstream: {text}" for text in _compare_fields(expected.has, message)]
    if expected.whole and (message.body != expected.body or not message.whole):
        wrong.append(f"body to the upstream {message.body[:60]!r}, not {expected.body[:60]!r}")
    if message.trailers != expected.trailers:
        wrong.append(f"trailers to the upstream {message.trailers}, not {expected.trailers}")
    return wrong


def _compare_fields(expected: Mapping[str, Value], message: Message) -> list[str]:
    wrong = []
    for name, value in expected.items():
        found = message.get(name)
        right = (
            value.fullmatch(found) is not None
            if isinstance(value, re.Pattern) and found is not None
            else found == value
        )
        if not right:
            shown = value.pattern if isinstance(value, re.Pattern) else value
            wrong.append(f"{name} is {found!r}, not {shown!r}")
    return wrong
