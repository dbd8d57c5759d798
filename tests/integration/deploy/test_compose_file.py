"""The compose file: valid by its schema, and as careful as it says."""

from __future__ import annotations

import importlib.util
import json
import re
import stat
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.integration.deploy import compose
from tests.integration.deploy.conftest import make_secrets

COMPONENTS = {
    "legacy", "pricing", "devices", "notifications", "gateway", "console", "agent",
    "cdc-pricing-forward", "cdc-pricing-reverse", "cdc-devices-forward", "cdc-devices-reverse",
    "cdc-notifications-forward", "cdc-notifications-reverse", "verify", "steward",
}  # fmt: skip
SERVERS = {"pg-legacy", "pg-services", "redis", "rabbitmq", "kafka", "connect", "prometheus", "grafana"}


def compose_schema() -> dict[str, Any]:
    """The compose-spec's JSON schema, out of the PyPI package `check-jsonschema`, which carries it."""
    found = importlib.util.find_spec("check_jsonschema")
    assert found is not None, "check-jsonschema is not installed: `make setup-dev`"
    assert found.origin is not None
    path = Path(found.origin).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema: dict[str, Any] = json.loads(path.read_text())
    return schema


def test_the_file_is_valid_by_the_compose_specification(stack: dict[str, Any]) -> None:
    schema = compose_schema()
    validator = jsonschema.validators.validator_for(schema)(schema)
    for document in (compose.raw(), stack):
        assert [f"{list(e.path)}: {e.message}" for e in validator.iter_errors(document)] == []
    broken = compose.raw()
    broken["services"]["gateway"]["port"] = ["8000"]
    assert not validator.is_valid(broken)


def test_every_component_and_every_server_is_there(stack: dict[str, Any]) -> None:
    assert set(stack["services"]) >= COMPONENTS | SERVERS
    assert set(compose.own(stack["services"])) >= COMPONENTS


def test_what_runs_has_a_health_check_and_what_ends_is_waited_for(stack: dict[str, Any]) -> None:
    services = stack["services"]
    for name, service in services.items():
        assert compose.is_job(service) or service.get("healthcheck", {}).get("test"), f"{name} has no health check"
        for other, condition in compose.dependencies(service).items():
            wanted = "service_completed_successfully" if compose.is_job(services[other]) else "service_healthy"
            assert condition == wanted, f"{name} waits for {other} by {condition}"


def test_nothing_depends_on_what_does_not_start_with_it(stack: dict[str, Any]) -> None:
    services = stack["services"]
    for name, service in services.items():
        for other in compose.dependencies(service):
            hidden = set(services[other].get("profiles", ())) - set(service.get("profiles", ()))
            assert not hidden, f"{name} depends on {other}, which only profile {hidden} starts"


def test_ports_are_published_on_loopback_only(stack: dict[str, Any]) -> None:
    published = {n: s["ports"] for n, s in stack["services"].items() if "ports" in s}
    assert set(published) == {"gateway", "console", "prometheus", "grafana"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
    assert all("network_mode" not in s and not s.get("privileged") for s in stack["services"].values())


def test_databases_and_brokers_are_in_a_network_without_a_way_out(stack: dict[str, Any]) -> None:
    assert stack["networks"]["inside"] == {"internal": True}
    for name, service in stack["services"].items():
        assert set(service["networks"]) <= {"inside", "edge"}
        told_outside = name in ("steward", "devices")  # its webhook; imbalance prices
        assert ("edge" in service["networks"]) == ("ports" in service or told_outside), name


def test_own_components_can_change_nothing_but_their_volumes(stack: dict[str, Any]) -> None:
    for name, service in compose.own(stack["services"]).items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "user" not in service, f"{name}: the image says who it runs as"


def test_every_volume_and_every_mounted_file_exists(stack: dict[str, Any]) -> None:
    for name, service in stack["services"].items():
        for source in compose.mounts(service).values():
            known = (compose.ROOT / source).exists() if source.startswith("./") else source in stack["volumes"]
            assert known, f"{name} mounts {source}"


def test_secrets_are_generated_never_written_down(stack: dict[str, Any], secrets_env: dict[str, str]) -> None:
    text = compose.FILE.read_text()
    example = (compose.ROOT / "deploy" / "env.example").read_text()
    named = set(re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE))
    used = compose.variables(text) | {s["environment"] for s in stack["secrets"].values()}
    assert used == named
    assert set(secrets_env) - {"AGENT_POLL_S"} == set(re.findall(r"^([A-Z_]+)=$", example, re.MULTILINE))
    written = compose.raw()["services"]
    for name, service in stack["services"].items():
        plain = {k: v for k, v in written[name].get("environment", {}).items() if "$" not in str(v)}
        assert not [k for k in plain if re.search(r"PASSWORD$|SECRET|TOKEN|_KEY$|_PASS$", k)], name
        assert not [
            w for w in service.get("command", ()) for secret in secrets_env.values() if len(secret) > 8 and secret in w
        ], name


@pytest.mark.parametrize("missing", ["BANYAN_PASSWORD_POSTGRES", "GATEWAY_ADMIN_TOKEN", "BANYAN_PASSWORD_LEGACY_APP"])
def test_without_its_secrets_the_file_is_refused(secrets_env: dict[str, str], missing: str) -> None:
    with pytest.raises(compose.VariableMissing, match=rf"{missing}: run deploy/make-secrets\.sh"):
        compose.load({k: v for k, v in secrets_env.items() if k != missing})


def test_secrets_are_private_strong_and_kept(tmp_path: Path) -> None:
    target = tmp_path / ".env"
    first = make_secrets(target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert len(set(first.values())) == len(first)
    assert all(re.fullmatch(r"[0-9a-f]{48}", value) for value in first.values())
    target.write_text("".join(f"{k}={v}\n" for k, v in first.items() if k != "GATEWAY_ADMIN_TOKEN"))
    second = make_secrets(target)
    assert second.pop("GATEWAY_ADMIN_TOKEN") != first.pop("GATEWAY_ADMIN_TOKEN")
    assert second == first


def test_every_own_port_number_is_used_by_one_service_only(stack: dict[str, Any]) -> None:
    """So an address in the file can be read without its network."""
    listening: dict[str, str] = {}
    for name, service in compose.own(stack["services"]).items():
        check = " ".join(service.get("healthcheck", {}).get("test", ()))
        for port in re.findall(r"127\.0\.0\.1:(\d+)", check):
            assert listening.setdefault(port, name) == name
    assert len(listening) == len(COMPONENTS) - 1  # the agent listens to nobody
