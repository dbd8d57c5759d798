"""The agent as a real process against a real server: offline, killed, refused, redirected, stopped."""

from __future__ import annotations

import configparser
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from pi_agent.config import Timing
from tests.integration.pi_agent.process import Make, until
from tests.integration.pi_agent.server import TOKEN, FakeServer

ALL_DAY = [("0000", "2400", "C", 1000)]
AMSTERDAM = ZoneInfo("Europe/Amsterdam")


def command(ref: str, seconds: float = 60) -> dict[str, Any]:
    now = datetime.now(AMSTERDAM)
    return {
        "ref": ref,
        "mode": "D",
        "power_w": 700,
        "issued": f"{now:%Y-%m-%dT%H:%M:%S}",
        "expires": f"{now + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}",
    }


@pytest.fixture
def server() -> Iterator[FakeServer]:
    made = FakeServer(slots=list(ALL_DAY)).start()
    yield made
    made.stop()


def test_a_schedule_is_executed_and_acknowledged_and_the_agent_stops_safe(server: FakeServer, agents: Make) -> None:
    agent = agents(server.url).start()
    until(lambda: len(server.acks) == 2, "two acks")
    today = datetime.now(AMSTERDAM).strftime("%Y%m%d")
    assert sorted(server.acks) == [("schedule-v1", "delivered"), (f"slot-v1-{today}-0000", "succeeded")]
    until(lambda: agent.status().get("pending_acks") == 0, "acks settled")
    status = agent.status()
    assert (status["state"], status["backend"], status["schedule_version"], status["mode"]) == (
        "running",
        "legacy",
        1,
        "charge",
    )
    assert status["last_contact"] is not None
    assert "" not in server.request_ids
    begun = time.monotonic()
    assert agent.end() == 0
    assert time.monotonic() - begun < 10
    assert agent.status()["state"] == "stopped"
    assert agent.trace()[-1]["power_w"] == 0.0
    assert TOKEN not in agent.log()


def test_a_command_is_executed_and_a_late_one_is_not(server: FakeServer, agents: Make) -> None:
    server.commands = [command("cmd-1", 60), command("late", -30)]
    agent = agents(server.url).start()
    until(lambda: {("cmd-1", "succeeded"), ("late", "expired")} <= set(server.acks), "both commands told")
    assert [state for ref, state in server.acks if ref == "late"] == ["expired"]
    assert agent.end() == 0
    assert "late" not in {line["ref"] for line in agent.trace()}


def test_offline_the_schedule_goes_on_and_what_happened_is_told_afterwards(server: FakeServer, agents: Make) -> None:
    agent = agents(server.url).start()
    until(lambda: agent.status().get("pending_acks") == 0 and len(server.acks) == 2, "first acks")
    agent.end()
    server.stop()
    known = len(server.acks)
    agent.start()
    until(
        lambda: agent.status().get("mode") == "charge" and agent.status()["state"] == "running",
        "executing with no server",
    )
    until(lambda: agent.status().get("last_error"), "it tried")
    assert len(server.acks) == known
    server.version, server.commands = 2, [command("after")]
    server.start()
    until(
        lambda: ("after", "succeeded") in server.acks and ("schedule-v2", "delivered") in server.acks, "told when back"
    )


@pytest.mark.parametrize("step", ["safe", "received", "intent", "acted", "result", "sent", "settled"])
def test_killed_at_any_step_nothing_is_done_twice_and_no_ack_is_lost(
    server: FakeServer, agents: Make, step: str
) -> None:
    server.commands = [command("cmd-1")]
    agent = agents(server.url).start(crash_at=step)
    assert agent.process is not None
    assert agent.process.wait(20) == -signal.SIGKILL
    agent.start()
    wanted = {("schedule-v1", "delivered"), ("cmd-1", "delivered"), ("cmd-1", "succeeded")}
    until(lambda: wanted <= set(server.acks) and agent.status().get("pending_acks") == 0, "all told")
    assert agent.end() == 0
    assert set(server.acks) == wanted, "something was told that did not happen"
    # The one whose answer was under way when the agent died may be sent again: the server knows it by (ref, state).
    assert len(server.acks) <= len(wanted) + 1, "sent again though its delivery was journaled"


def test_an_agent_that_is_told_to_wait_waits(server: FakeServer, agents: Make) -> None:
    server.retry_after = "2"
    server.fault = lambda method, path: 429 if path.startswith("/get-schedule") else None
    agent = agents(server.url).start()
    until(lambda: len(server.paths("GET")) >= 2, "a second poll")
    first, second = [at for at, method, _ in server.requests if method == "GET"][:2]
    assert second - first >= 2
    server.fault = lambda method, path: None
    until(lambda: agent.status().get("schedule_version") == 1, "the schedule after all")


def test_an_ack_that_is_refused_is_recorded_and_not_sent_forever(server: FakeServer, agents: Make) -> None:
    server.fault = lambda method, path: 422 if method == "POST" else None
    agent = agents(server.url, max_refusals=2).start()
    until(lambda: agent.status().get("refused_acks") == 2, "both acks given up")
    sent = len(server.paths("POST"))
    assert sent == 4
    polls = len(server.paths("GET"))
    until(lambda: len(server.paths("GET")) > polls + 3, "some more polls")
    assert len(server.paths("POST")) == sent


def test_an_answer_that_makes_no_sense_leaves_the_stored_schedule_in_force(server: FakeServer, agents: Make) -> None:
    agent = agents(server.url).start()
    until(lambda: agent.status().get("mode") == "charge", "charging")
    server.version, server.slots = 2, [("0500", "0100", "C", 1)]
    until(lambda: "cannot be read" in str(agent.status().get("last_error")), "it noticed")
    assert (agent.status()["schedule_version"], agent.status()["mode"]) == (1, "charge")


def test_the_flag_moves_the_agent_to_the_new_backend_and_back(server: FakeServer, agents: Make) -> None:
    agent = agents(server.url, server.url).start()
    until(lambda: agent.status().get("backend") == "legacy" and len(server.acks) == 2, "on legacy")
    server.flag = "v2"
    until(lambda: agent.status().get("backend") == "v2", "on v2")
    server.version = 2
    until(lambda: ("schedule-v2", "delivered") in server.acks, "v2's schedule told")
    assert "/v2/devices/17/acks" in server.paths("POST")
    until(lambda: ("GET", "/v2/devices/17/schedule", 304) in server.answered, "an unchanged schedule costs a 304")
    server.flag = "legacy"
    until(lambda: agent.status().get("backend") == "legacy", "back on legacy")
    assert ("POST", "/ofrep/v1/evaluate/flags", 304) in server.answered


def test_the_flag_survives_a_restart_without_the_flag_service(server: FakeServer, agents: Make) -> None:
    flag_service = FakeServer(flag="v2").start()
    agent = agents(server.url, flag_service.url).start()
    until(lambda: agent.status().get("backend") == "v2", "on v2")
    agent.end(signal.SIGKILL)
    flag_service.stop()
    seen = len(server.requests)
    agent.start()
    until(lambda: len(server.requests) > seen + 2, "it polls")
    assert all(path.startswith("/v2/") for _, _, path in server.requests[seen:])


def test_a_v2_that_does_not_work_is_left_and_tried_again_later(server: FakeServer, agents: Make) -> None:
    server.flag = "v2"
    server.fault = lambda method, path: 500 if path.startswith("/v2/") else None
    agent = agents(server.url, server.url, max_v2_errors=3, v2_retreat_s=1.0, v2_retreat_cap_s=1.0).start()
    until(lambda: "unusable" in agent.log(), "v2 left")
    server.version = 2
    until(lambda: ("schedule-v2", "delivered") in server.acks, "served by legacy")
    assert agent.status()["flag"] == "v2"
    server.fault = lambda method, path: None
    until(lambda: ("GET", "/v2/devices/17/schedule", 200) in server.answered, "v2 tried again")
    until(lambda: agent.status()["backend"] == "v2", "on v2 after all")


@pytest.mark.parametrize(("step", "phase"), [("trial", "reverted"), ("committed", "v2")])
def test_killed_in_a_trial_it_is_back_on_legacy_and_killed_after_it_on_v2(
    server: FakeServer, agents: Make, step: str, phase: str
) -> None:
    server.flag = "v2"
    agent = agents(server.url, server.url).start(crash_at=step)
    assert agent.process is not None
    assert agent.process.wait(20) == -signal.SIGKILL
    seen = len(server.requests)
    agent.start()
    until(lambda: agent.status().get("state") == "running" and agent.status()["phase"] == phase, phase)
    until(lambda: len([r for r in server.requests[seen:] if r[1] == "GET"]) > 2, "it polls")
    old, new = "/get-schedule/17", "/v2/devices/17/schedule"
    polled = {path for _, method, path in server.requests[seen:] if method == "GET"}
    assert polled == ({new} if phase == "v2" else {old}), "one backend commands"
    until(lambda: agent.status()["mode"] == "charge" and agent.status()["pending_acks"] == 0, "as before")


def test_a_server_that_never_finishes_its_answer_does_not_stop_the_control(agents: Make, server: FakeServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as slow:
        held: list[socket.socket] = []
        threading.Thread(target=lambda: held.append(slow.accept()[0]), daemon=True).start()
        agent = agents(f"http://127.0.0.1:{slow.getsockname()[1]}", request_timeout_s=30).start()
        until(lambda: held, "a request that hangs")
        before = agent.status().get("updated")
        until(lambda: agent.status().get("updated") != before, "the control goes on")
        begun = time.monotonic()
        assert agent.end() == 0
        assert time.monotonic() - begun < 10
        for connection in held:
            connection.close()


def silent(listener: socket.socket) -> bool:
    try:
        listener.recv(4096)
    except TimeoutError:
        return True
    return False


def run_cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pi_agent", *arguments], capture_output=True, text=True, timeout=30, check=False
    )


def test_status_says_whether_the_agent_runs(server: FakeServer, agents: Make) -> None:
    agent = agents(server.url)
    assert run_cli("status", "--config", str(agent.config)).returncode == 1
    agent.start()
    until(lambda: agent.status().get("state") == "running", "running")
    running = run_cli("status", "--config", str(agent.config))
    assert running.returncode == 0
    assert json.loads(running.stdout)["device_id"] == 17
    agent.end()
    stopped = run_cli("status", "--config", str(agent.config))
    assert stopped.returncode == 1
    assert "not running: state 'stopped'" in stopped.stderr


def test_check_config_accepts_a_good_configuration_and_names_what_is_wrong_with_a_bad_one(agents: Make) -> None:
    agent = agents("http://127.0.0.1:1")
    good = run_cli("check-config", "--config", str(agent.config))
    assert (good.returncode, good.stdout.startswith("ok: device 17")) == (0, True)
    agent.config.write_text(agent.config.read_text().replace("device_id = 17", "device_id = -1"))
    bad = run_cli("lint", "--config", str(agent.config))
    assert (bad.returncode, bad.stderr) == (2, "banyan-agent: agent.toml:1: device_id must be 1 or more\n")


def test_systemd_hears_that_the_agent_is_ready_alive_and_stopping(
    server: FakeServer, agents: Make, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(20)
        agent = agents(server.url).start(NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="800000")
        said = [systemd.recv(4096).decode() for _ in range(4)]
        assert agent.process is not None
        agent.process.send_signal(signal.SIGSTOP)  # an agent that hangs says nothing
        systemd.settimeout(0.5)
        until(lambda: silent(systemd), "silence")
        agent.process.send_signal(signal.SIGCONT)
        systemd.settimeout(20)
        agent.process.send_signal(signal.SIGTERM)
        until(lambda: systemd.recv(4096).startswith(b"STOPPING=1"), "STOPPING=1")
        assert agent.process.wait(10) == 0
    assert said[0].startswith("READY=1\n")
    assert all(line.startswith("WATCHDOG=1\nSTATUS=") for line in said[1:])


def test_metrics_are_there_while_it_runs_and_say_when_it_stopped(server: FakeServer, agents: Make) -> None:
    agent = agents(server.url, metrics_s=0.1).start()
    path = agent.folder / "state" / "metrics.prom"
    until(lambda: path.exists() and "banyan_agent_schedule_version 1.0" in path.read_text(), "the schedule in metrics")
    assert "banyan_agent_up 1.0" in path.read_text()
    agent.end()
    assert "banyan_agent_up 0.0" in path.read_text()


def test_the_self_test_tries_everything_and_says_what_helps(server: FakeServer, agents: Make) -> None:
    agent = agents(server.url, server.url)
    good = run_cli("self-test", "--config", str(agent.config), "--json")
    assert (good.returncode, good.stderr) == (0, "")
    findings = json.loads(good.stdout)
    assert set(findings) == {"token", "journal", "battery", "gateway", "flags", "clock"}
    assert findings["battery"]["detail"] == "simulated: 50% full, 0 W"
    (agent.folder / "token").write_text("wrong")
    (agent.folder / "token").chmod(0o644)
    server.fault = lambda method, path: 503 if "flags" in path else None
    bad = run_cli("self-test", "--config", str(agent.config))
    assert bad.returncode == 1
    assert bad.stderr == "banyan-agent: self-test failed: token, gateway, flags\n"
    assert "FAILED gateway: answered 401: is the token this device's?" in bad.stdout


def test_the_self_test_leaves_a_running_agent_alone(server: FakeServer, agents: Make) -> None:
    agent = agents(server.url).start()
    until(lambda: agent.status().get("mode") == "charge", "charging")
    tested = run_cli("self-test", "--config", str(agent.config))
    assert tested.returncode == 0, tested.stdout
    assert "ok     battery: left alone: the agent runs" in tested.stdout
    assert agent.trace()[-1]["power_w"] == 1000.0


def test_a_second_agent_on_the_same_state_is_refused(server: FakeServer, agents: Make) -> None:
    agent = agents(server.url).start()
    until(lambda: agent.status().get("state") == "running", "running")
    second = run_cli("run", "--config", str(agent.config))
    assert second.returncode == 1
    assert "another agent uses" in second.stderr


def test_the_unit_of_systemd_says_what_the_agent_does() -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(Path(__file__).parents[3] / "deploy" / "systemd" / "banyan-agent.service")
    service = unit["Service"]
    assert (service["Type"], service["Restart"], service["WatchdogSec"]) == ("notify", "always", "30")
    for line in (service["ExecStartPre"], service["ExecStart"]):
        assert line.split()[1] in run_cli("--help").stdout
    assert float(service["TimeoutStopSec"]) > Timing().stop_s + 2
