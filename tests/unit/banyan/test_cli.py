"""The command line says what is wrong in one line and exits with a code."""

import subprocess
import sys

import pytest


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
