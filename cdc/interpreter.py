"""Python's own settings for the processes that carry changes."""

from __future__ import annotations

import gc
import signal
import sys

# How long a thread may keep the interpreter to itself while another waits, seconds. By default it is 5 ms, and a record
# of Kafka passes through four threads on its way. A direct stream has one that works: it would only be interrupted.
SWITCH = 0.001
ENDING = frozenset({signal.SIGTERM, signal.SIGINT})


def asked_to_end(seconds: float) -> bool:
    """Waits so long for one of these signals, which all threads block. In a process that was stopped and goes on, or
    that a debugger looked into, the wait comes back as if it had found one, which then is none of them.
    """
    found = signal.sigtimedwait(ENDING, seconds)
    return found is not None and found.si_signo in ENDING


def suit() -> None:
    """Once everything is imported."""
    # Batches are many short-lived objects without cycles; the default thresholds walk them for nothing.
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)


def share() -> None:
    """Among the threads of Kafka's client and ours."""
    sys.setswitchinterval(SWITCH)
