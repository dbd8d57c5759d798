"""What docs/architecture.md §2 says that a component reads, the deployments set, or say here why they do not."""

from __future__ import annotations

import re
from typing import Any

import yaml

from tests.integration.deploy import compose
from tests.integration.deploy.test_kubernetes import DEPLOYMENTS, pod

SERVICES = ("pricing", "devices", "notifications")

#: Reader in the table → services of the compose file. Deployments in Kubernetes have the same names.
READERS: dict[str, tuple[str, ...]] = {
    "legacy": ("legacy",),
    "legacy's Alembic and loader": ("legacy-migrate",),
    "services": SERVICES,
    "services' Alembic": tuple(f"{name}-migrate" for name in SERVICES),
    "notifications": ("notifications",),
    "devices": ("devices",),
    "gateway": ("gateway",),
    "cli": ("plan",),
    "plan": ("plan",),
    "verify": ("plan",),
    "`prepare`": ("plan-prepare",),
    "cdc": tuple(f"cdc-{name}-{way}" for name in SERVICES for way in ("forward", "reverse")),
    "steward": ("steward",),
    "console": ("console",),
    "agents": (),  # their gateway is in their own configuration
    "load": (),
    "people": (),
}
TUNING = "the default is meant for production, too"
TLS = "where TLS ends is the site's choice: in the gateway (set the three, and GATEWAY_LISTEN=off) or before it"
#: Neither in the compose file nor in the manifests.
UNSET = {
    "GATEWAY_TLS_LISTEN": TLS,
    "GATEWAY_TLS_CERT": TLS,
    "GATEWAY_TLS_KEY": TLS,
    "GATEWAY_ACCESS_LOG": "a container logs to standard output",
    "GATEWAY_LOG_SAMPLE": TUNING,
    "GATEWAY_DRAIN_SECONDS": "10 s are within the grace periods of both",
    "GATEWAY_PATIENCE": TUNING,
    "GATEWAY_COMPILED": "the image has it compiled, and takes it",
    "GATEWAY_HOLD_SECONDS": TUNING,
    "GATEWAY_SLOW_TIMEOUT": TUNING,
    "GATEWAY_SLOW_RATE": TUNING,
    "GATEWAY_CLOCK_SKEW": TUNING,
    "GATEWAY_READ_TIMEOUT": TUNING,
    "GATEWAY_TOTAL_TIMEOUT": TUNING,
    "GATEWAY_QUEUE_TIMEOUT": TUNING,
    "GATEWAY_WRITE_TIMEOUT": TUNING,
    "GATEWAY_BREAKER_RESET": TUNING,
    "GATEWAY_HEALTH_INTERVAL": TUNING,
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "OTEL_EXPORTER_OTLP_ENDPOINT is set, and one of the two is enough",
    "OTEL_SERVICE_NAME": "the default says what it is",
    "OTEL_RESOURCE_ATTRIBUTES": "the site's own words",
    "BANYAN_VERIFY_URL": "a container says --listen",
    "BANYAN_STEWARD_URL": "a container says --listen",
    "LEGACY_PASSWORD_METHOD": "the default is right",
    "DEVICES_MOST_WAITING": TUNING,
    "DEVICES_OFFLINE_AFTER_S": TUNING,
    "DEVICES_LOG_DAYS": TUNING,
    "DEVICES_TELEMETRY_DAYS": TUNING,
    "DEVICES_OTA_KEY_FILE": "the site's own key, mounted where it wants to publish updates",
    "GATEWAY_OVERRIDE_KEY_FILE": "GATEWAY_OVERRIDE_KEY is set, and one of the two is enough",
}
#: In the compose file, but not in the manifests.
NOT_IN_KUBERNETES = {
    "LEGACY_SMTP_URL": "without it mail is written to the log; a mail server is the site's",
    "GATEWAY_ADMIN_TOKENS": "a file that must be 0600, which a secret's volume with an fsGroup is not",
    "BANYAN_PLAN": "the console has its domains from the streams' variables, the steward's image the shipped plan",
}


def rows() -> list[tuple[list[str], list[str]]]:
    """(variables, readers) of each row of the table."""
    text = (compose.ROOT / "docs" / "architecture.md").read_text()
    table = text.split("| variable | read by | meaning |")[1].split("\n\n")[0]
    found = []
    for line in table.splitlines()[2:]:
        names, readers, *_ = (cell.strip() for cell in re.split(r"(?<!\\)\|", line.replace("\\|", "/"))[1:-1])
        found.append((variables(names), [r.strip() for r in re.split("[,;]", re.sub(r" \([^)]*\)", "", readers))]))
    return [(names, [reader for reader in readers if reader]) for names, readers in found]


def variables(cell: str) -> list[str]:
    """`PRICING_DATABASE_URL`, `DEVICES_…` → both; a row that ends in … goes on with the other services."""
    found: list[str] = []
    for name in re.findall(r"`([^`]+)`", cell):
        if name.startswith("…"):  # of the one before: `GATEWAY_OVERRIDE_KEY`, or `…_KEY_FILE`
            found.append(f"{found[-1].rpartition('_')[0]}{name[1:]}")
        elif name.endswith("…"):
            found.append(name[:-1] + found[0].partition("_")[2])
        elif "<" in name:
            found += [
                name.replace("<DOMAIN>", service.upper()).replace("<FORWARD/REVERSE>", way)
                for service in SERVICES
                for way in ("FORWARD", "REVERSE")
            ]
        else:
            found.append(name)
    if cell.endswith("…"):
        found += [found[-1].replace("PRICING", service.upper()) for service in SERVICES[1:]]
    return list(dict.fromkeys(found))


def concerned(variable: str, reader: str) -> list[str]:
    """A service's own variable is no other service's."""
    owner = next((name for name in SERVICES if name.upper() in variable), None)
    names = READERS[reader]
    if owner is None or not any(owner in name for name in names):
        return list(names)
    return [name for name in names if owner in name]


def given(services: dict[str, Any]) -> dict[str, set[str]]:
    return {name: set(service.get("environment", ())) for name, service in services.items()}


def missing(deployed: dict[str, set[str]], excused: dict[str, str]) -> list[str]:
    return [
        f"{name} does not set {variable}"
        for names, readers in rows()
        for variable in names
        if variable not in excused
        for reader in readers
        for name in concerned(variable, reader)
        if name in deployed and variable not in deployed[name]
    ]


def test_the_table_is_read_as_it_is_meant() -> None:
    known = {name for names, _ in rows() for name in names}
    assert {"DEVICES_DATABASE_URL", "NOTIFICATIONS_OWNER_DATABASE_URL", "BANYAN_DEVICES_CDC_DSN"} <= known
    assert {"GATEWAY_OVERRIDE_KEY_FILE", "BANYAN_CDC_PRICING_REVERSE_URL", "GATEWAY_TABLE"} <= known
    assert {reader for _, readers in rows() for reader in readers} <= set(READERS)


def test_the_compose_file_sets_what_its_components_read() -> None:
    assert missing(given(compose.raw()["services"]), UNSET) == []


def test_the_manifests_set_what_their_components_read() -> None:
    deployed = {
        name: {variable["name"] for variable in pod(deployment)["containers"][0]["env"]}
        for name, deployment in DEPLOYMENTS.items()
    }
    assert missing(deployed, UNSET | NOT_IN_KUBERNETES) == []


def test_whatever_is_excused_is_in_the_table_and_is_not_set_after_all() -> None:
    known = {name for names, _ in rows() for name in names}
    assert not (UNSET | NOT_IN_KUBERNETES).keys() - known
    assert not set(UNSET) & set().union(*given(compose.raw()["services"]).values())
    manifests = yaml.safe_dump(DEPLOYMENTS)
    assert [name for name in UNSET if re.search(rf"\b{name}\b", manifests)] == []


def test_the_console_can_change_nothing_at_the_gateway(stack: dict[str, Any]) -> None:
    console = stack["services"]["console"]["environment"]
    assert console["GATEWAY_VIEWER_TOKEN"] == stack["services"]["gateway"]["environment"]["GATEWAY_VIEWER_TOKEN"]
    assert "GATEWAY_ADMIN_TOKEN" not in console
