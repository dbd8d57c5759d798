"""python -m tests.conformance [--write FILE]: the cases against this gateway, Envoy and nginx."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from banyan.errors import BanyanError
from tests.conformance.cases import CASES
from tests.conformance.gateway import listening
from tests.conformance.loop import run
from tests.conformance.origin import Origin
from tests.conformance.peers import PEERS, Peer
from tests.conformance.play import play
from tests.conformance.report import BEGIN, Result, result, tables

PATIENCE = 1.0  # seconds; a peer that is silent for so long waits for more


async def _ours() -> dict[str, Result]:
    found = {}
    for case in CASES:
        origin = await Origin().start()
        async with listening(origin, **case.settings) as port:
            found[case.id] = result(case, await play(case, port, origin))
        await origin.stop()
    return found


async def _theirs(name: str, peer: Peer) -> dict[str, Result]:
    """Without the cases that need a setting of ours."""
    found = {}
    origin = await Origin().start()
    with tempfile.TemporaryDirectory(prefix="banyan-conformance-") as folder:
        async with peer(Path(folder), origin) as port:
            for case in CASES:
                if not case.settings:
                    print(f"\r{name}: {len(found) + 1}", end="", file=sys.stderr)
                    found[case.id] = result(case, await play(case, port, origin, PATIENCE))
                    await asyncio.sleep(0.02)  # a peer may be late to pass on what it answers no more
    await origin.stop()
    print(file=sys.stderr)
    return found


async def _run(file: Path | None) -> int:
    ours = await _ours()
    for id, one in ours.items():
        if one.wrong:
            print(f"this gateway: {id}: {'; '.join(one.wrong)}")
    theirs = {}
    for name, peer in PEERS.items():
        try:
            theirs[name] = await _theirs(name, peer)
        except BanyanError as error:
            print(f"{name}: {error}", file=sys.stderr)
    text = tables(theirs)
    if file is None:
        print(text)
    else:
        before = file.read_text().partition(BEGIN)[0] if file.exists() else "# Conformance\n\n"
        file.write_text(before + BEGIN + "\n\n" + text)
    return 1 if any(one.wrong for one in ours.values()) else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the tables into this file, below its text")
    arguments = parser.parse_args()
    return run(_run(arguments.write))


if __name__ == "__main__":
    sys.exit(main())
