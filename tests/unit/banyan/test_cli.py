"""The command line says what is wrong in one line and exits with a code."""

import socket
import subprocess
import sys

import pytest

from banyan.commands.stack import require_as_asked
from banyan.errors import StackError
from banyan.stack import boot
from banyan.stack.home import Home, Running


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, "-m", "banyan.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **env},
    )


def test_help_names_every_command():
    said = run("--help").stdout
    for name in ("up", "down", "demo", "status", "advance", "switch", "rollback", "verify", "doctor", "bench"):
        assert f"\n  {name} " in said


@pytest.mark.parametrize("arguments", [["nonsense"], ["up", "--nonsense"], ["up", "--gateway-port", "x"]])
def test_a_wrong_word_is_refused(arguments):
    done = run(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "Error" in done.stderr


def test_down_without_a_stack_says_so(tmp_path):
    done = run("down", BANYAN_HOME=str(tmp_path / "none"))
    assert (done.returncode, done.stdout) == (0, "no stack is running\n")


def test_logs_without_a_stack_say_what_to_do(tmp_path):
    done = run("logs", BANYAN_HOME=str(tmp_path / "none"))
    assert done.returncode == 1
    assert "banyan up" in done.stderr


def test_the_demo_does_not_throw_away_the_data_of_a_stack(tmp_path):
    (tmp_path / "env").write_text("A=1\n")
    done = run("demo", BANYAN_HOME=str(tmp_path))
    assert done.returncode == 1
    assert "down --purge" in done.stderr
    assert (tmp_path / "env").exists()


@pytest.fixture
def used(tmp_path) -> Home:
    """A folder with what `banyan up` leaves."""
    home = Home(tmp_path / "home")
    with home.lock():
        home.env_file.write_text("A=1\n")
    return home


def one_line(done: subprocess.CompletedProcess[str], code: int = 1) -> str:
    assert done.returncode == code
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].count("error") == 1
    return lines[0]


def test_data_of_up_is_thrown_away_only_when_somebody_says_so(used):
    env = {"BANYAN_HOME": str(used.path)}
    looked = run("down", "--purge", "--dry-run", **env)
    assert looked.returncode == 0
    assert f"would remove the data of `banyan up` in {used.path}" in looked.stdout
    assert "--yes" in one_line(run("down", "--purge", **env), 2)
    assert used.env_file.exists()
    assert run("down", "--purge", "--yes", **env).returncode == 0
    assert not used.path.exists()


def test_a_dry_run_of_up_says_what_would_be_started_and_thrown_away_and_makes_nothing(tmp_path, used):
    fresh = run("up", "--dry-run", "--agents", "0", BANYAN_HOME=str(tmp_path / "none"))
    assert fresh.returncode == 0, fresh.stderr
    assert fresh.stdout.splitlines()[0] == f"would make a stack in {tmp_path / 'none'}"
    assert "(gateway)" in fresh.stdout
    assert fresh.stdout.splitlines()[-1] == "dry run: nothing was changed"
    assert not (tmp_path / "none").exists()
    before = sorted(used.path.rglob("*"))
    assert (
        f"would go on with the data of `banyan up` in {used.path}"
        in run("up", "--dry-run", BANYAN_HOME=str(used.path)).stdout
    )
    again = run("up", "--dry-run", "--fresh", "-d", BANYAN_HOME=str(used.path))
    assert again.stdout.startswith(f"would throw away the data of `banyan up` in {used.path}")
    assert sorted(used.path.rglob("*")) == before


def test_a_dry_run_of_up_is_refused_by_what_would_refuse_it(tmp_path, used):
    (tmp_path / "thesis").touch()
    assert "not a stack's folder" in one_line(run("up", "--fresh", "--dry-run", BANYAN_HOME=str(tmp_path)))
    assert "is no folder" in one_line(run("up", "--dry-run", BANYAN_HOME=str(tmp_path / "thesis" / "home")))
    with used.lock():
        assert "a stack is starting or stopping" in one_line(run("up", "--dry-run", BANYAN_HOME=str(used.path)))


def test_data_of_a_demonstration_goes_without_a_question(used):
    used.demo_mark.touch()
    assert run("down", "--purge", BANYAN_HOME=str(used.path)).returncode == 0
    assert not used.path.exists()


@pytest.mark.parametrize("arguments", [["down", "--purge", "--yes"], ["up", "--fresh"], ["demo"]])
def test_a_folder_that_is_no_stacks_is_not_removed(tmp_path, arguments):
    (tmp_path / "thesis").touch()
    assert "not a stack's folder" in one_line(run(*arguments, BANYAN_HOME=str(tmp_path)))
    assert (tmp_path / "thesis").exists()


def test_a_start_that_cannot_have_its_port_throws_nothing_away(used):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        said = one_line(run("up", "--fresh", "--gateway-port", port, BANYAN_HOME=str(used.path)))
    assert f"port {port} for gateway is in use" in said
    assert used.env_file.exists()


def test_why_a_stack_did_not_start_in_the_background_is_one_line(tmp_path):
    done = run("up", "--detach", BANYAN_HOME=str(tmp_path / "home"), BANYAN_PG_BIN=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: no postgres and initdb in ")
    assert done.stderr.count("error") == 1


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    said = one_line(run("up", BANYAN_HOME=str(tmp_path / "file" / "home")))
    assert "BANYAN_HOME" in said


def test_a_disk_without_room_is_named_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr("banyan.stack.boot.shutil.disk_usage", lambda _: type("Usage", (), {"free": 5 * 2**20}))
    with pytest.raises(StackError, match="5 MiB are free"):
        boot.require_room(Home(tmp_path))


def test_a_log_that_does_not_exist_is_answered_with_those_that_do(used):
    used.log("gateway").write_text("one\ntwo\n")
    env = {"BANYAN_HOME": str(used.path)}
    assert "there are: gateway" in one_line(run("logs", "nope", **env))
    assert run("logs", "gateway", "--tail", "1", **env).stdout == "two\n"


RUNNING = Running(1, "http://127.0.0.1:8000", "http://127.0.0.1:8001", True, {}, {"agent-1": 0, "legacy": 0}, workers=2)


def test_a_running_stack_that_is_as_asked_will_do():
    require_as_asked(RUNNING, gateway_port=None, console_port=None, agents=None, workers=None)
    require_as_asked(RUNNING, gateway_port=8000, console_port=8001, agents=1, workers=2)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("gateway_port", 9000, "--gateway-port 8000, not 9000"),
        ("console_port", 9000, "--console-port 8001, not 9000"),
        ("agents", 0, "--agents 1, not 0"),
        ("workers", 1, "--workers 2, not 1"),
    ],
)
def test_a_running_stack_that_is_not_as_asked_is_refused_with_what_differs(option, value, words):
    asked = {"gateway_port": None, "console_port": None, "agents": None, "workers": None, option: value}
    with pytest.raises(StackError, match=rf"{words}: .*banyan down"):
        require_as_asked(RUNNING, **asked)
