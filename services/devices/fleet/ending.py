"""Tells at a signal that the process is to end. A server says so only when all requests are done, waits too."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def at_the_first_sign_of_the_end(call: Callable[[], None]) -> Iterator[None]:
    """Within the block, `call` in the running loop when the process gets a signal to end; then what was done before.

    A server's own handler hangs on the loop's wake-up descriptor, which the signal reaches as well. In a thread, where
    signals are not ours to take, nothing is done.
    """
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def ours(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(call)
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)
        elif handler == signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    try:
        for number in _SIGNALS:
            signal.signal(number, ours)
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            with contextlib.suppress(TypeError):  # one that was not made in Python
                signal.signal(number, handler)
