"""The supervisor starts in order, revives what falls, says why a start failed, and leaves nothing running."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from banyan.errors import ServerFailed, StackError
from banyan.servers.ports import free_port
from banyan.stack.home import Home
from banyan.stack.process import Child, Spec, start
from banyan.stack.supervisor import Supervisor

_FOREVER = "import threading; threading.Event().wait()"


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def gone(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


@pytest.fixture
def supervisor(tmp_path) -> Iterator[Supervisor]:
    home = Home(tmp_path / "home")
    home.create()
    made = Supervisor(home)
    yield made
    made.stop()


def python(name: str, code: str, **more: object) -> Spec:
    return Spec(name=name, command=[sys.executable, "-c", code], **more)  # type: ignore[arg-type]


def test_it_waits_until_the_process_serves(supervisor: Supervisor):
    port = free_port()
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    supervisor.start_all([Spec(name="web", command=command, ready_url=f"http://127.0.0.1:{port}/")])
    assert supervisor.child("web").alive


def test_a_process_that_dies_while_starting_is_reported_with_its_last_words(supervisor: Supervisor):
    dying = python("dying", "print('no such table'); raise SystemExit(3)", ready=lambda: False)
    with pytest.raises(ServerFailed, match="no such table"):
        supervisor.start_all([dying])


def test_a_killed_process_comes_back(supervisor: Supervisor):
    supervisor.start_all([python("worker", _FOREVER)])
    supervisor.watch()
    first = supervisor.child("worker").pid
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: supervisor.restarts()["worker"] == 1 and supervisor.child("worker").alive)
    assert supervisor.child("worker").pid != first


def test_a_killed_server_comes_back_and_outlives_its_clients_at_the_stop(supervisor: Supervisor, tmp_path):
    ended = tmp_path / "ended"
    code = (
        "import signal, sys, threading\n"
        f"signal.signal(signal.SIGTERM, lambda *_: (open({str(ended)!r}, 'a').write(sys.argv[1] + ' '), sys.exit()))\n"
        "open(sys.argv[2], 'w').close(); threading.Event().wait()"
    )

    def spec(name: str, **more: bool) -> Spec:
        ready = tmp_path / name
        command = [sys.executable, "-c", code, name, str(ready)]
        return Spec(name=name, command=command, ready=ready.exists, **more)

    supervisor.start_all([spec("server", server=True)])
    supervisor.start_all([spec("client")])
    supervisor.watch()
    (tmp_path / "server").unlink()
    os.kill(supervisor.child("server").pid, signal.SIGKILL)
    wait_for((tmp_path / "server").exists)
    supervisor.stop()
    assert ended.read_text() == "client server "
    assert supervisor.restarts() == {"server": 1, "client": 0}


def test_it_goes_on_watching_when_a_process_could_not_be_started_again(supervisor: Supervisor, monkeypatch):
    supervisor.start_all([python("worker", _FOREVER)])
    first = supervisor.child("worker").pid
    attempts = []

    def full_disk_twice(spec: Spec, log: Path) -> Child:
        attempts.append(spec.name)
        if len(attempts) <= 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return start(spec, log)

    monkeypatch.setattr("banyan.stack.supervisor.start", full_disk_twice)
    supervisor.watch()
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: supervisor.restarts()["worker"] == 1)
    assert supervisor.child("worker").pid != first
    assert len(attempts) == 3


def test_stop_ends_grandchildren_too(supervisor: Supervisor, tmp_path):
    note = tmp_path / "grandchild"
    code = (
        "import subprocess, sys, pathlib\n"
        f"child = subprocess.Popen([sys.executable, '-c', {_FOREVER!r}])\n"
        f"pathlib.Path({str(note)!r}).write_text(str(child.pid))\n{_FOREVER}"
    )
    supervisor.start_all([python("parent", code, ready=lambda: note.exists() and bool(note.read_text()))])
    grandchild = int(note.read_text())
    assert not gone(grandchild)
    supervisor.stop()
    wait_for(lambda: gone(grandchild))


def test_a_home_has_one_stack_at_a_time(tmp_path):
    home = Home(tmp_path)
    with home.lock(), pytest.raises(StackError, match="already running"), home.lock():
        pass
    with home.lock():
        pass
