"""What systemd and node_exporter get to hear."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pi_agent import metrics
from pi_agent.notify import Notifier

STATUS: dict[str, Any] = {
    "state": "running", "soc": 0.5, "power_w": -300.0, "schedule_version": 4, "epoch": 3, "pending_acks": 1,
    "refused_acks": 0, "dropped_acks": 0, "clock_jumps": 2, "clock_skew_s": None, "fault": None, "mode": "discharge",
    "phase": "trial", "last_contact": "2026-06-01T10:00:00+00:00", "updated": "2026-06-01T10:00:01.000+00:00",
}  # fmt: skip


@pytest.mark.parametrize("abstract", [False, True])
def test_a_service_says_that_it_is_ready_alive_and_stopping(tmp_path: Path, abstract: bool) -> None:
    name = f"@banyan-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + name[1:] if abstract else name)
        systemd.settimeout(5)
        notifier = Notifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "8000000", "WATCHDOG_PID": str(os.getpid())})
        notifier.ready("holding")
        for second in range(5):
            notifier.alive(100.0 + second, "slot")
        notifier.stopping()
        said = [systemd.recv(4096).decode() for _ in range(5)]
        notifier.close()
    assert said == [
        "READY=1\nSTATUS=holding",
        *["WATCHDOG=1\nSTATUS=slot"] * 3,  # at 100, 102 and 104: a quarter of 8 s apart
        "STOPPING=1\nSTATUS=making safe",
    ]


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"NOTIFY_SOCKET": ""},
        {"NOTIFY_SOCKET": "vsock:1"},
        {"NOTIFY_SOCKET": "/nowhere/notify", "WATCHDOG_USEC": "x"},
    ],
)
def test_without_systemd_nothing_is_said_and_nothing_fails(environment: dict[str, str]) -> None:
    notifier = Notifier(environment)
    notifier.ready("ok")
    notifier.alive(0, "ok")
    assert notifier.watchdog_s is None
    notifier.close()


def test_a_watchdog_that_is_meant_for_another_process_is_not_ours() -> None:
    assert Notifier({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}).watchdog_s is None


def test_metrics_are_in_prometheus_format_and_put_in_place_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "metrics.prom"
    metrics.write(path, STATUS)
    families = {f.name: f for f in text_string_to_metric_families(path.read_text())}
    assert families["banyan_agent_soc_ratio"].samples[0].value == 0.5
    assert families["banyan_agent_acks_refused"].type == "counter"
    phases = {s.labels["phase"]: s.value for s in families["banyan_agent_backend_phase"].samples}
    assert phases == {"legacy": 0, "trial": 1, "v2": 0, "reverted": 0}
    assert "banyan_agent_clock_skew_seconds" not in families
    assert families["banyan_agent_updated_timestamp_seconds"].samples[0].value == 1780308001.0
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.prom"]
