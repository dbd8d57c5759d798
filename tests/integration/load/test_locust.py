"""The Locust files run as their README says, and their exit code tells whether the objectives were met."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from load.objectives import Objectives
from tests.integration.load.shop import Shop, opened

ROOT = Path(__file__).resolve().parents[3]
PATIENT = {"LOAD_SLO_P99_MS": "5000", "LOAD_SLO_LONGEST_MS": "9000"}  # what is tested is not this machine's speed


def started(url: str, file: str, *arguments: str, **env: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "locust", "-f", f"load/{file}", "--headless", "-H", url, *arguments]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LOAD_", "LOCUST_"))}
    return subprocess.Popen(
        command, cwd=ROOT, env={**kept, **PATIENT, **env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ended(locust: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit code, and all that it printed."""
    printed, complaints = locust.communicate(timeout=60)
    return locust.returncode, printed + complaints


def locust(url: str, shop: Shop, requests: int, users: int, **env: str) -> tuple[int, str]:
    """A run of `locustfile.py` that ends when the shop has misbehaved as told and then seen so many requests."""
    running = started(url, "locustfile.py", "-u", str(users), "-r", str(users), "-t", "60s", **env)
    deadline, wanted = time.monotonic() + 50, requests
    while len(shop.requests) < wanted and running.poll() is None and time.monotonic() < deadline:
        wanted = len(shop.requests) + requests if shop.faults else wanted
        time.sleep(0.02)
    running.send_signal(signal.SIGTERM)
    return ended(running)


@pytest.fixture
def tokens(tmp_path) -> str:
    file = tmp_path / "tokens.json"
    file.write_text('{"1": "token"}')
    return str(file)


def test_a_steady_load_meets_its_objectives(tokens):
    shop = Shop()
    with opened(shop) as url:
        code, said = locust(url, shop, requests=60, users=10, LOAD_DEVICE_TOKENS=tokens)
    assert code == 0, said
    assert {"GET", "POST"} <= {method for method, _, _ in shop.requests}
    assert any("/get-schedule/1" in target for _, target, _ in shop.requests)


def test_a_failed_request_fails_the_run():
    shop = Shop()
    shop.faults.extend(["broken"] * 3)
    with opened(shop) as url:
        code, said = locust(url, shop, requests=15, users=5)
    assert code == 1
    assert "objective missed: 3 of" in said


def test_being_told_to_wait_is_no_failure():
    shop = Shop()
    shop.faults.extend(["busy"] * 5)
    with opened(shop) as url:
        code, said = locust(url, shop, requests=15, users=5)
    assert code == 0, said
    assert "(told to wait)" in said


def test_a_cutover_takes_every_step_in_order_under_load(tmp_path):
    log, script = tmp_path / "log", tmp_path / "banyan.py"
    script.write_text(f"import sys\nopen({str(log)!r}, 'a').write(' '.join(sys.argv[1:3]) + chr(10))\n")
    shop = Shop()
    with opened(shop) as url:
        code, said = ended(
            started(url, "cutover.py", LOAD_PACE_S="0.5", LOAD_USERS="4", LOAD_BANYAN=f"{sys.executable} {script}")
        )
    assert code == 0, said
    verbs = ["advance", "advance", "advance", "switch", "rollback"]
    assert log.read_text().splitlines() == [f"{verb} pricing" for verb in verbs]
    assert len(shop.requests) > 10


def test_a_step_that_is_refused_ends_the_cutover_and_fails_the_run():
    shop = Shop()
    refuse = f"{sys.executable} -c \"import sys; sys.exit('lag is 9 s, at most 1 s is allowed')\""
    with opened(shop) as url:
        code, said = ended(started(url, "cutover.py", LOAD_PACE_S="0.5", LOAD_USERS="4", LOAD_BANYAN=refuse))
    assert code == 1
    assert "objective missed: banyan advance pricing ended with 1: lag is 9 s" in said


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
