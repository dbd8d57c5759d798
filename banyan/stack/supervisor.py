"""Keeps the stack's processes: starts them, waits until they serve, restarts what falls, stops them in reverse."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field

import httpx

from banyan.errors import ServerFailed
from banyan.stack.home import Home
from banyan.stack.process import Child, Spec, start

_FIRST_RESTART_DELAY = 0.1  # seconds; doubles up to the cap while a process keeps falling
_RESTART_DELAY_CAP = 5.0
_STEADY_AFTER = 20.0  # seconds alive after which a process counts as steady again


@dataclass(slots=True)
class _Entry:
    child: Child
    started: float
    delay: float = _FIRST_RESTART_DELAY
    restart_at: float | None = None
    restarts: int = 0


@dataclass(slots=True)
class Supervisor:
    """Owns every child process of one stack."""

    home: Home
    on_change: Callable[[], None] = lambda: None
    _entries: dict[str, _Entry] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _watcher: threading.Thread | None = None

    def launch(self, spec: Spec) -> None:
        """Start without waiting."""
        with self._lock:
            if self._stopping.is_set():
                return
            self._entries[spec.name] = _Entry(start(spec, self.home.log(spec.name)), time.monotonic())

    def wait(self, spec: Spec) -> None:
        """Until `spec` serves. Raises: ServerFailed with the end of its log."""
        deadline = time.monotonic() + spec.start_seconds
        with httpx.Client(timeout=2.0) as client:
            while not self._stopping.is_set():
                if self._serves(spec, client):
                    return
                if self._watcher is None and not self._entries[spec.name].child.alive:  # nobody revives it yet
                    raise ServerFailed(f"{spec.name} ended while starting: {self._last_words(spec.name)}")
                if time.monotonic() > deadline:
                    raise ServerFailed(
                        f"{spec.name} was not ready within {spec.start_seconds:.0f} s: {self._last_words(spec.name)}"
                    )
                time.sleep(0.05)

    def start_all(
        self, specs: list[Spec], progress: Callable[[str], None] = lambda _: None, started: Sequence[Spec] = ()
    ) -> None:
        """Start `specs` together and wait for all of them, and for those that were launched before."""
        for spec in specs:
            self.launch(spec)
        with ThreadPoolExecutor(max_workers=max(1, len(specs) + len(started))) as pool:
            waiting = {pool.submit(self.wait, spec): spec.name for spec in (*started, *specs)}
            for done in as_completed(waiting):
                done.result()
                progress(waiting[done])
        self.on_change()

    def pids(self) -> dict[str, int]:
        with self._lock:
            return {name: entry.child.pid for name, entry in self._entries.items() if entry.child.alive}

    def restarts(self) -> dict[str, int]:
        with self._lock:
            return {name: entry.restarts for name, entry in self._entries.items()}

    def child(self, name: str) -> Child:
        with self._lock:
            return self._entries[name].child

    def watch(self) -> None:
        """From now on restart what ends, in a background thread."""
        self._watcher = threading.Thread(target=self._keep_alive, name="supervisor", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """Stop everything, last started first."""
        self._stopping.set()
        with self._lock:  # the watcher starts nothing any more
            entries = list(reversed(self._entries.values()))
        # Servers go last and alone, so that their clients can finish; the rest stops together.
        clients = [e.child for e in entries if not e.child.spec.server]
        if clients:
            with ThreadPoolExecutor(max_workers=len(clients)) as pool:
                list(pool.map(Child.stop, clients))
        for entry in entries:
            entry.child.stop()
        self._stopped.set()
        if self._watcher is not None:
            self._watcher.join(10)

    def _serves(self, spec: Spec, client: httpx.Client) -> bool:
        try:
            if spec.ready is not None:
                return spec.ready()
            return spec.ready_url is None or client.get(spec.ready_url).status_code == 200
        except (httpx.HTTPError, OSError):
            return False

    def _last_words(self, name: str) -> str:
        log = self.home.log(name)
        lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
        return f"{lines[-1] if lines else 'it wrote nothing'} (see {log})"

    def _keep_alive(self) -> None:
        while not self._stopping.wait(0.05):
            with self._lock:
                if self._stopping.is_set():
                    break
                for entry in [e for e in self._entries.values() if not e.child.alive]:
                    with contextlib.suppress(OSError):  # a full disk, say: the next turn tries again
                        self._revive(entry)
        self._stopped.wait()  # what this thread has started ends with it: not before its turn

    def _revive(self, entry: _Entry) -> None:
        now = time.monotonic()
        if entry.restart_at is None:
            if now - entry.started > _STEADY_AFTER:
                entry.delay = _FIRST_RESTART_DELAY
            entry.restart_at = now + entry.delay
            entry.delay = min(entry.delay * 2, _RESTART_DELAY_CAP)
        elif now >= entry.restart_at:
            entry.started, entry.restart_at = now, None
            entry.child.stop()  # whatever of its group is left
            entry.child = start(entry.child.spec, self.home.log(entry.child.spec.name))
            entry.restarts += 1
            self.on_change()
