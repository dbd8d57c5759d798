"""Prometheus and Grafana: what they are told to read exists in the stack."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from gateway.meter import EVENTS
from tests.integration.deploy import compose

DEPLOY = compose.ROOT / "deploy"


def read(path: str) -> Any:
    return yaml.safe_load((DEPLOY / path).read_text())


def test_prometheus_scrapes_every_component_that_listens(stack: dict[str, Any]) -> None:
    config = read("prometheus/prometheus.yml")
    targets = {t for job in config["scrape_configs"] for c in job["static_configs"] for t in c["targets"]}
    hosts = {t.partition(":")[0] for t in targets} - {"127.0.0.1"}
    listening = {
        name
        for name, service in compose.own(stack["services"]).items()
        if "127.0.0.1:" in " ".join(service.get("healthcheck", {}).get("test", ()))
    }
    assert hosts == listening
    for target in targets - {"127.0.0.1:9090"}:
        host, _, port = target.partition(":")
        assert port in json.dumps(stack["services"][host]), f"{host} does not listen on {port}"
    assert all((DEPLOY / "prometheus" / name).exists() for name in config["rule_files"])


def test_there_is_an_alert_for_each_danger_of_a_migration_and_each_says_what_to_do() -> None:
    alerts = [rule for group in read("prometheus/rules.yml")["groups"] for rule in group["rules"]]
    names = {alert["alert"] for alert in alerts}
    assert len(names) == len(alerts)
    assert names >= {
        "BanyanStreamLag",
        "BanyanBreakerOpen",
        "BanyanDrift",
        "BanyanSlotRetainedBytes",
        "BanyanSlotLost",
        "BanyanSlotUnbounded",
        "BanyanStreamHalted",
        "BanyanParkedKeys",
        "BanyanHoldExpired",
        "BanyanVerifyDrift",
    }
    for alert in alerts:
        assert alert["labels"]["severity"] in ("warning", "critical")
        assert alert["annotations"].keys() == {"summary", "action"}


def test_what_alerts_and_dashboard_read_is_what_the_code_exports() -> None:
    rules = [r["expr"] for g in read("prometheus/rules.yml")["groups"] for r in g["rules"]]
    panels = json.loads((DEPLOY / "grafana/dashboards/banyan.json").read_text())["panels"]
    asked = " ".join([*rules, *(target["expr"] for panel in panels for target in panel["targets"])])
    parts = ("gateway", "cdc", "migration_plan", "console", "services")
    code = " ".join(file.read_text() for part in parts for file in (compose.ROOT / part).rglob("*.py"))
    exported, wanted = (
        {re.sub("_(total|bucket|sum|count)$", "", name) for name in found}
        for found in (re.findall(r'"(banyan_\w+)"', code), re.findall(r"\bbanyan_\w+", asked))
    )
    assert len(wanted) > 8
    assert wanted - exported == set()
    events = {name for names in re.findall(r'event=~?"([^"]+)"', asked) for name in names.split("|")}
    assert events >= {"hold_expired", "held_refused", "shadow_mismatched"}
    assert events - set(EVENTS) == set()


def test_the_slot_alarm_comes_before_the_server_drops_the_slot(stack: dict[str, Any]) -> None:
    rules = {r["alert"]: r for g in read("prometheus/rules.yml")["groups"] for r in g["rules"]}
    share = float(rules["BanyanSlotRetainedBytes"]["expr"].rpartition(">")[2])
    for name in ("pg-legacy", "pg-services"):
        assert "max_slot_wal_keep_size=4GB" in stack["services"][name]["command"]
    assert share <= 0.5


def test_grafana_finds_its_data_and_its_dashboard(stack: dict[str, Any]) -> None:
    source = read("grafana/provisioning/datasources/prometheus.yml")["datasources"][0]
    assert source["url"] == "http://prometheus:9090"
    folder = read("grafana/provisioning/dashboards/banyan.yml")["providers"][0]["options"]["path"]
    assert compose.mounts(stack["services"]["grafana"])[folder] == "./deploy/grafana/dashboards"
    dashboard = json.loads((DEPLOY / "grafana/dashboards/banyan.json").read_text())
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    for panel in dashboard["panels"]:
        assert panel["datasource"]["uid"] == source["uid"]
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
