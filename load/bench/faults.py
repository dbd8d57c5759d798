"""The faults that `faulty` can commit: each is a function of the request that writes an answer, or a part of one.

Every answer names its request, so whoever gets another's can tell.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

STALL_SECONDS = 30.0  # longer than any read timeout of those who use this
FLOOD = 2000  # interim responses before the final one


@dataclass(slots=True)
class Asked:
    """One request as far as it was read. `early`: its body was not waited for."""

    method: str
    headers: dict[str, str]
    left: Callable[[], bool]  # whether who asked has gone
    digest: str = ""

    @property
    def id(self) -> str:
        return self.headers.get("x-id", "")

    @property
    def fault(self) -> str:
        return self.headers.get("x-fault", "ok")

    @property
    def answer(self) -> bytes:
        return answer_of(self.id, int(self.headers.get("x-size", "1")))


def answer_of(identity: str, size: int) -> bytes:
    """The body that belongs to this request and to no other."""
    return f"{identity};".encode() * size


def head(asked: Asked, *lines: str, status: str = "200 OK") -> bytes:
    own = [f"HTTP/1.1 {status}", f"X-Answer: {asked.id}", f"X-Digest: {asked.digest}", *lines]
    return ("\r\n".join(own) + "\r\n\r\n").encode()


def whole(asked: Asked) -> bytes:
    start = head(asked, f"Content-Length: {len(asked.answer)}")
    return start if asked.method == "HEAD" else start + asked.answer


class Close(Exception):
    """Raised by a fault to end the connection with FIN."""


class Reset(Exception):
    """Raised by a fault to end the connection with RST."""


Fault = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]
FAULTS: dict[str, Fault] = {}


def fault(act: Fault) -> Fault:
    FAULTS[act.__name__] = act  # type: ignore[attr-defined]
    return act


async def _say(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Written, and given time to arrive before what follows."""
    writer.write(data)
    await writer.drain()
    await asyncio.sleep(0.005)


async def _stall(asked: Asked) -> None:
    for _ in range(int(STALL_SECONDS / 0.02)):
        if asked.left():
            break
        await asyncio.sleep(0.02)
    raise Close


# nothing wrong with the message


@fault
async def ok(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(whole(asked))


@fault
async def chunked(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(head(asked, "Transfer-Encoding: chunked"))
    if asked.method != "HEAD":
        body = asked.answer
        for at in range(0, len(body), 4000):
            piece = body[at : at + 4000]
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await asyncio.sleep(0)
        writer.write(b"0\r\nX-Trailer: 1\r\n\r\n")


@fault
async def until_close(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(head(asked))
    if asked.method != "HEAD":
        writer.write(asked.answer)
    raise Close


@fault
async def drip_head(asked: Asked, writer: asyncio.StreamWriter) -> None:
    data = whole(asked)
    for at in range(0, 40, 8):
        await _say(writer, data[at : at + 8])
    writer.write(data[40:])


@fault
async def drip_body(asked: Asked, writer: asyncio.StreamWriter) -> None:
    data = whole(asked)
    for at in range(len(data) - 10, len(data)):
        await _say(writer, data[(0 if at == len(data) - 10 else at) : at + 1])


@fault
async def interim(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """103 and 100 in front of the answer."""
    writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + whole(asked))


@fault
async def leaves_after(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Closes a connection that it had promised to keep: a race with the next request."""
    writer.write(whole(asked))
    raise Close


@fault
async def early_answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Answers before the request's body was read (`serve` reads it afterwards)."""
    writer.write(whole(asked))


@fault
async def early_answer_and_close(asked: Asked, writer: asyncio.StreamWriter) -> None:
    await _say(writer, head(asked, f"Content-Length: {len(asked.answer)}", "Connection: close"))
    if asked.method != "HEAD":
        await _say(writer, asked.answer)
    raise Close


# more than was asked for


@fault
async def extra_bytes(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(whole(asked) + b"and more")


@fault
async def two_responses(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(whole(asked) + b"HTTP/1.1 200 OK\r\nX-Answer: nobody\r\nContent-Length: 7\r\n\r\nnobody;")


@fault
async def body_of_a_head(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Sends the body even to HEAD."""
    writer.write(head(asked, f"Content-Length: {len(asked.answer)}") + asked.answer)


# no answer


@fault
async def close_before_head(asked: Asked, writer: asyncio.StreamWriter) -> None:
    raise Close


@fault
async def reset_before_head(asked: Asked, writer: asyncio.StreamWriter) -> None:
    raise Reset


@fault
async def close_in_head(asked: Asked, writer: asyncio.StreamWriter) -> None:
    await _say(writer, whole(asked)[:30])
    raise Close


@fault
async def reset_in_head(asked: Asked, writer: asyncio.StreamWriter) -> None:
    await _say(writer, whole(asked)[:30])
    raise Reset


@fault
async def stall_before_head(asked: Asked, writer: asyncio.StreamWriter) -> None:
    await _stall(asked)


@fault
async def stall_in_head(asked: Asked, writer: asyncio.StreamWriter) -> None:
    await _say(writer, whole(asked)[:30])
    await _stall(asked)


# no answer that can be understood


@fault
async def garbage(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x16\x03\x01 this is not HTTP\r\n\r\n" + whole(asked))


@fault
async def big_head(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(head(asked, "X-Long: " + "x" * 70_000, f"Content-Length: {len(asked.answer)}") + asked.answer)


@fault
async def two_lengths(asked: Asked, writer: asyncio.StreamWriter) -> None:
    size = len(asked.answer)
    writer.write(head(asked, f"Content-Length: {size}", f"Content-Length: {size + 1}") + asked.answer)


@fault
async def interim_flood(asked: Asked, writer: asyncio.StreamWriter) -> None:
    for _ in range(10):
        await _say(writer, b"HTTP/1.1 100 Continue\r\n\r\n" * (FLOOD // 10))
    writer.write(whole(asked))


# half an answer


async def _half(asked: Asked, writer: asyncio.StreamWriter, framing: str) -> None:
    body = asked.answer
    await _say(writer, head(asked, *([framing] if framing else [])))
    if asked.method != "HEAD":
        part = body[: len(body) // 2]
        await _say(writer, b"%x\r\n%b" % (len(body), part) if "chunked" in framing else part)


def _length(asked: Asked) -> str:
    return f"Content-Length: {len(asked.answer)}"


@fault
async def close_in_body(asked: Asked, writer: asyncio.StreamWriter) -> None:
    await _half(asked, writer, _length(asked))
    raise Close


@fault
async def reset_in_body(asked: Asked, writer: asyncio.StreamWriter) -> None:
    await _half(asked, writer, _length(asked))
    raise Reset


@fault
async def close_in_chunk(asked: Asked, writer: asyncio.StreamWriter) -> None:
    await _half(asked, writer, "Transfer-Encoding: chunked")
    raise Close


@fault
async def reset_until_close(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Its end is the connection's, so only the RST says that something is missing."""
    await _half(asked, writer, "")
    raise Reset


@fault
async def bad_chunk(asked: Asked, writer: asyncio.StreamWriter) -> None:
    await _say(writer, head(asked, "Transfer-Encoding: chunked"))
    if asked.method != "HEAD":
        part = asked.answer[: len(asked.answer) // 2]
        await _say(writer, b"%x\r\n%b\r\n-1\r\nx" % (len(part), part))


@fault
async def stall_in_body(asked: Asked, writer: asyncio.StreamWriter) -> None:
    await _half(asked, writer, _length(asked))
    if asked.method != "HEAD":  # where half of it is all of it
        await _stall(asked)
