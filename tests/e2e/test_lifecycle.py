"""The stack comes up in order, is found by a second start, and leaves nothing behind however it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from banyan.servers.ports import free_port
from banyan.stack.config import read_env_file
from banyan.stack.home import Home
from tests.e2e.conftest import ROOT, Stack, banyan, wait_for
from tests.e2e.journey import clients, state, wait_for_comparisons


def descendants(pid: int) -> set[int]:
    """Every process below `pid`, by /proc."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(folder.name))
    found: set[int] = set()
    todo = [pid]
    while todo:
        for child in children.get(todo.pop(), []):
            found.add(child)
            todo.append(child)
    return found


def alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.e2e
def test_a_second_up_finds_the_first(stack: Stack):
    said = stack.banyan("up", "--detach").stdout
    assert "running already" in said
    assert stack.gateway in said


@pytest.mark.e2e
def test_doctor_finds_every_part_well(stack: Stack):
    said = stack.banyan("doctor").stdout
    for part in ("legacy", "pricing", "devices", "notifications", "gateway", "console", "cdc-pricing-reverse"):
        assert part in said
    assert "bad" not in said


@pytest.mark.e2e
def test_a_demo_beside_a_running_stack_is_refused(stack: Stack):
    done = stack.banyan("demo", check=False)
    assert done.returncode == 1
    assert "banyan down" in done.stderr


def start(home: Path) -> subprocess.Popen[bytes]:
    """`banyan up` in the foreground, ready."""
    ports = ["--gateway-port", str(free_port()), "--console-port", str(free_port())]
    starter = subprocess.Popen(
        [sys.executable, "-m", "banyan.cli", "up", "--agents", "1", *ports],
        cwd=ROOT,
        env={**os.environ, "BANYAN_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(lambda: (r := Home(home).running()) is not None and r.ready, "the stack to be ready", 180)
    except BaseException:
        starter.kill()
        raise
    return starter


def end(starter: subprocess.Popen[bytes], how: signal.Signals) -> None:
    """And see that nothing of it runs on."""
    below = descendants(starter.pid)
    assert len(below) > 15
    starter.send_signal(how)
    starter.wait(60)
    wait_for(lambda: not any(alive(pid) for pid in below), "every process to end", 60)


@pytest.mark.e2e
@pytest.mark.parametrize("command", ["up", "demo"])
def test_what_a_shell_put_in_the_background_ends_on_sigint_though_the_shell_had_it_ignored(tmp_path, command):
    home = tmp_path / "home"
    started = subprocess.Popen(
        ["bash", "-c", '"$@" & echo $!; wait', "bash", sys.executable, "-m", "banyan.cli", command],
        cwd=ROOT, env={**os.environ, "BANYAN_HOME": str(home)}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert started.stdout is not None
    pid = int(started.stdout.readline())
    try:
        wait_for(lambda: (home / "stack.json").exists(), "the stack to be starting")
        os.kill(pid, signal.SIGINT)
        wait_for(lambda: not alive(pid), "it to end", 60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        started.wait(60)
    assert not (home / "stack.json").exists()


@pytest.mark.e2e
@pytest.mark.long  # starts a stack three times
@pytest.mark.timeout(900)
def test_a_killed_stack_leaves_nothing_running_and_goes_on_where_it_was_on_other_ports(tmp_path):
    home = tmp_path / "home"
    with contextlib.ExitStack() as at_the_end:
        _kill_and_start_again(home, at_the_end)


def route_table(stack: Stack) -> dict[str, Any]:
    """As the gateway routes by it."""
    token = {"Authorization": f"Bearer {stack.env['GATEWAY_ADMIN_TOKEN']}"}
    table: dict[str, Any] = httpx.get(f"{stack.env['BANYAN_GATEWAY_ADMIN_URL']}/v1/table", headers=token).json()
    return table


def _kill_and_start_again(home: Path, at_the_end: contextlib.ExitStack) -> None:
    first = start(home)
    at_the_end.callback(first.kill)
    stack = Stack(home, read_env_file(Home(home)))
    stack.banyan("advance", "pricing", "--yes", "--reason", "test")
    refused = stack.banyan("advance", "pricing", "--yes", check=False)
    assert refused.returncode != 0
    assert "banyan load --seconds 20 --domain pricing" in refused.stderr
    with clients(stack, "pricing"):
        wait_for_comparisons(stack, "pricing")
        for _ in range(2):
            stack.banyan("advance", "pricing", "--yes", "--reason", "test")
    stack.banyan("switch", "pricing", "--yes", "--reason", "test")
    with stack.client() as client:
        codes = {tariff["code"] for tariff in client.get("/api/tariffs").json()["tariffs"]}
    before = route_table(stack)
    end(first, signal.SIGKILL)
    assert "no stack is running" in banyan(home, "down").stdout

    file = Home(home).env_file
    kept = [line for line in file.read_text().splitlines() if not line.startswith("BANYAN_PORT_")]
    file.write_text("\n".join(kept) + "\n")
    second = start(home)
    at_the_end.callback(second.kill)
    again = Stack(home, read_env_file(Home(home)))
    assert again.env["BANYAN_PRICING_URL"] != stack.env["BANYAN_PRICING_URL"]
    with again.client() as client:
        assert {tariff["code"] for tariff in client.get("/api/tariffs").json()["tariffs"]} == codes
        tariff = client.get("/api/tariffs")
        assert "side=service" in tariff.headers["Banyan-Route"]
    assert state(again, "pricing")["owner"] == "service"
    assert route_table(again)["version"] > before["version"]
    assert route_table(again)["domains"]["pricing"]["waves"] == before["domains"]["pricing"]["waves"]
    end(second, signal.SIGINT)
