"""Ends open event streams when the process is told to end: the server waits for them before it tells the console."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from types import FrameType


def before_the_end(call: Callable[[], None]) -> None:
    """Have the running loop make `call` on SIGTERM or SIGINT, besides whatever the server does on them.

    To be used once the server runs: it sets its own handlers after the application's start. They stay in force, because
    the handler that was there is called, and a loop's own handlers hang on the wake-up descriptor, not on this one.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _also(call, loop, signal.getsignal(number)))


def _also(
    call: Callable[[], None],
    loop: asyncio.AbstractEventLoop,
    before: signal.Handlers | Callable[..., object] | int | None,
) -> Callable[[int, FrameType | None], None]:
    def handler(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(call)
        if callable(before):
            before(number, frame)

    return handler
