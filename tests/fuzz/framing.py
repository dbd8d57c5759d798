"""python -m tests.fuzz.framing [--seconds N] [--seed S]: can anything be smuggled through the gateway?

Requests in good and bad form are broken at random. Whatever the gateway lets through must be read alike by h11 and
llhttp, must be what h11 reads in the client's own bytes, and must not depend on how the bytes were split.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence

from tests.conformance.cases import CASES
from tests.conformance.loop import run
from tests.fuzz.readers import Disagreement, Read, requests_in
from tests.fuzz.wire import Told, Wire, wired

_SEEDS = [
    data
    for case in CASES
    if not case.settings and len(data := b"".join(part for part in case.sent if isinstance(part, bytes))) < 2000
]
_SPICE = [
    b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b":", b",", b";", b"\x0b", b"\xff", b"0", b"+", b"_", b"f", b"chunked",
    b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: a\r\n", b"Connection: close\r\n", b"\r\n\r\n",
    b"0\r\n\r\n", b"Expect: 100-continue\r\n", b"Connection: upgrade\r\nUpgrade: websocket\r\n",
    b"TE: trailers\r\n", b"X: y\r\n",
]  # fmt: skip


def mutated(rng: random.Random) -> bytes:
    """One to three messages, with up to four changes."""
    return broken(bytearray(b"".join(rng.choices(_SEEDS, k=rng.choice((1, 1, 2, 3))))), _SEEDS, rng)


def broken(data: bytearray, seeds: Sequence[bytes], rng: random.Random) -> bytes:
    for _ in range(rng.randrange(5)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(5):
            case 0:
                data[at:at] = rng.choice(_SPICE)
            case 1:
                del data[at : at + rng.choice((1, 1, 2, 8))]
            case 2:
                data[at : at + 1] = rng.choice(_SPICE)
            case 3:
                lines = bytes(data).split(b"\r\n")
                lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))
                data = bytearray(b"\r\n".join(lines))
            case 4:
                other = rng.choice(seeds)
                begin = rng.randrange(len(other) + 1)
                data[at:at] = other[begin : begin + rng.randrange(40)]
    return bytes(data)


def split(data: bytes, rng: random.Random) -> list[bytes]:
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice((1, 2, 5, 20))))
    edges = [0, *cuts, len(data)]
    return [data[a:b] for a, b in zip(edges, edges[1:], strict=False) if a < b]


def _answered_by_the_gateway(read: Read) -> bool:
    return read.method == b"OPTIONS" and (b"max-forwards", b"0") in read.headers and not read.body


async def check(wire: Wire, data: bytes, ways: Sequence[Sequence[bytes]]) -> Told:
    """What comes of `data` in one piece, which is also what comes of each way to split it. Raises: Disagreement."""
    told = await wire.tell([data])
    for pieces in ways:
        other = await wire.tell(pieces)
        if other != told:
            raise Disagreement(f"{data!r} in one piece: {told}; as {pieces!r}: {other}")
    read = [one for one in requests_in(data) if not _answered_by_the_gateway(one)]
    for number, (method, target, _, body) in enumerate(told.seen):
        if number >= len(read):
            raise Disagreement(f"h11 refuses request {number + 1} of {data!r}, the gateway lets it through")
        same = read[number]
        if (method, body) != (same.method, same.body) or not same.target.endswith(target.removeprefix(b"/")):
            raise Disagreement(f"of {data!r} the gateway passes on {told.seen[number]}, h11 reads {same}")
    return told


async def fuzz(seconds: float, seed: int) -> tuple[int, int]:
    """(inputs tried, requests let through). Raises: Disagreement."""
    rng = random.Random(seed)
    tried = through = 0
    until = time.monotonic() + seconds
    async with wired() as wire:
        while time.monotonic() < until:
            data = mutated(rng)
            told = await check(wire, data, [split(data, rng)])
            tried += 1
            through += len(told.seen)
    return tried, through


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.framing", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=None)
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.randrange(1 << 32)
    print(f"seed {seed}")
    try:
        tried, through = run(fuzz(arguments.seconds, seed))
    except Disagreement as error:
        print(f"found: {error}")
        return 1
    print(f"{tried} inputs, {through} requests let through, nothing found")
    return 0


if __name__ == "__main__":
    sys.exit(main())
