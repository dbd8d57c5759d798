"""The Locust files run as their README says, and their exit code tells whether the objectives were met."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from load.objectives import Objectives
from tests.integration.load.shop import Shop, opened

ROOT = Path(__file__).resolve().parents[3]


def locust(url: str, file: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "locust", "-f", f"load/{file}", "--headless", "-H", url, *arguments]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LOAD_", "LOCUST_"))}
    return subprocess.run(
        command, cwd=ROOT, env={**kept, **env}, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def tokens(tmp_path) -> str:
    file = tmp_path / "tokens.json"
    file.write_text('{"1": "token"}')
    return str(file)


def test_a_steady_load_meets_its_objectives(tokens):
    shop = Shop()
    with opened(shop) as url:
        done = locust(
            url,
            "locustfile.py",
            "-u",
            "10",
            "-r",
            "10",
            "-t",
            "3s",
            LOAD_DEVICE_TOKENS=tokens,
            LOAD_SLO_P99_MS="5000",
            LOAD_SLO_LONGEST_MS="9000",
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert {"GET", "POST"} <= {method for method, _, _ in shop.requests}
    assert len(shop.requests) > 40
    assert any("/get-schedule/1" in target for _, target, _ in shop.requests)


def test_a_failed_request_fails_the_run(tokens):
    shop = Shop()
    shop.faults.extend(["broken"] * 3)
    with opened(shop) as url:
        done = locust(
            url, "locustfile.py", "-u", "5", "-r", "5", "-t", "2s", LOAD_SLO_P99_MS="5000", LOAD_SLO_LONGEST_MS="9000"
        )
    assert done.returncode == 1
    assert "objective missed: 3 of" in done.stdout


def test_being_told_to_wait_is_no_failure():
    shop = Shop()
    shop.faults.extend(["busy"] * 5)
    with opened(shop) as url:
        done = locust(
            url, "locustfile.py", "-u", "5", "-r", "5", "-t", "2s", LOAD_SLO_P99_MS="5000", LOAD_SLO_LONGEST_MS="9000"
        )
    assert done.returncode == 0, done.stdout
    assert "(told to wait)" in done.stdout + done.stderr


def test_a_cutover_takes_every_step_in_order_under_load(tmp_path):
    log, script = tmp_path / "log", tmp_path / "banyan.py"
    script.write_text(f"import sys\nopen({str(log)!r}, 'a').write(' '.join(sys.argv[1:3]) + chr(10))\n")
    shop = Shop()
    with opened(shop) as url:
        done = locust(
            url,
            "cutover.py",
            LOAD_PACE_S="0.5",
            LOAD_USERS="4",
            LOAD_BANYAN=f"{sys.executable} {script}",
            LOAD_SLO_P99_MS="5000",
            LOAD_SLO_LONGEST_MS="9000",
        )
    assert done.returncode == 0, done.stdout + done.stderr
    verbs = ["advance", "advance", "advance", "switch", "rollback"]
    assert log.read_text().splitlines() == [f"{verb} pricing" for verb in verbs]
    assert len(shop.requests) > 10


def test_a_step_that_is_refused_ends_the_cutover_and_fails_the_run():
    shop = Shop()
    refuse = f"{sys.executable} -c \"import sys; sys.exit('lag is 9 s, at most 1 s is allowed')\""
    with opened(shop) as url:
        done = locust(
            url,
            "cutover.py",
            LOAD_PACE_S="0.5",
            LOAD_USERS="4",
            LOAD_BANYAN=refuse,
            LOAD_SLO_P99_MS="5000",
            LOAD_SLO_LONGEST_MS="9000",
        )
    assert done.returncode == 1
    assert "objective missed: banyan advance pricing ended with 1: lag is 9 s" in done.stdout


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ((0, 0, 0, 0), ["no request was made"]),
        ((100, 0, 400, 900), []),
        ((100, 1, 400, 900), ["1 of 100 requests failed; at most 0 % may"]),
        ((100, 0, 501, 2001), ["p99 was 501 ms; 500 ms wanted", "the slowest request took 2001 ms; 2000 ms wanted"]),
    ],
)
def test_objectives_say_what_was_missed(figures, words):
    assert Objectives().missed(*figures) == words


def test_an_objective_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="LOAD_SLO_P99_MS must be a number"):
        Objectives.from_env({"LOAD_SLO_P99_MS": "fast"})
