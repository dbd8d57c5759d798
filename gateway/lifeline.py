"""A child's tie to its parent: no process of the gateway may outlive the one that started it."""

from __future__ import annotations

import asyncio
import os
import stat


def watch_parent(stop: asyncio.Event) -> None:
    """The parent holds the other end of our standard input and never writes: its end means that the parent is gone."""
    loop = asyncio.get_running_loop()

    def ended() -> None:
        loop.remove_reader(0)
        stop.set()

    if stat.S_ISFIFO(os.fstat(0).st_mode):
        loop.add_reader(0, ended)
