"""The Kubernetes manifests: whole, consistent with each other and with the compose file."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.integration.deploy import compose

FOLDER = compose.ROOT / "deploy" / "kubernetes"
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
DOCUMENTS: list[dict[str, Any]] = [
    d for name in KUSTOMIZATION["resources"] for d in yaml.safe_load_all((FOLDER / name).read_text())
]


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    return {d["metadata"]["name"]: d for d in DOCUMENTS if d["kind"] == kind}


def pod(deployment: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return spec


DEPLOYMENTS = of_kind("Deployment")


def test_every_file_of_the_folder_is_applied() -> None:
    assert {p.name for p in FOLDER.glob("*.yaml")} == {*KUSTOMIZATION["resources"], "kustomization.yaml"}


def test_gateway_services_and_streams_may_be_moved_but_not_all_at_once() -> None:
    budgets = of_kind("PodDisruptionBudget")
    assert set(budgets) == set(DEPLOYMENTS) - {"console"}
    for name, budget in budgets.items():
        assert budget["spec"]["selector"] == DEPLOYMENTS[name]["spec"]["selector"]
        if name.startswith("cdc-") or name in ("verify", "steward"):
            assert budget["spec"]["maxUnavailable"] == 1  # a minimum of one of one would block every drain
        else:
            assert budget["spec"]["minAvailable"] < DEPLOYMENTS[name]["spec"]["replicas"]


@pytest.mark.parametrize("name", sorted(DEPLOYMENTS))
def test_a_deployment_is_selected_by_its_service_and_probed_on_its_ports(name: str) -> None:
    deployment, service = DEPLOYMENTS[name], of_kind("Service")[name]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert service["spec"]["selector"].items() <= labels.items()
    container = pod(deployment)["containers"][0]
    ports = {p["name"]: p["containerPort"] for p in container["ports"]}
    assert {p["targetPort"]: p["port"] for p in service["spec"]["ports"]} == ports
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] in ports


@pytest.mark.parametrize("name", sorted(DEPLOYMENTS))
def test_a_pod_is_restricted_and_mounts_what_it_declares(name: str) -> None:
    spec = pod(DEPLOYMENTS[name])
    container = spec["containers"][0]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {m["name"] for m in container["volumeMounts"]} == {v["name"] for v in spec["volumes"]}
    assert "limits" in container["resources"]


@pytest.mark.parametrize("name", sorted(DEPLOYMENTS))
def test_a_pod_runs_what_the_compose_file_runs(name: str, stack: dict[str, Any]) -> None:
    container, service = pod(DEPLOYMENTS[name])["containers"][0], stack["services"][name]
    assert container["image"] == service["image"]
    assert container["command"] == service["command"]
    given = {e["name"] for e in container["env"]}
    optional = {"LEGACY_SMTP_URL", "BANYAN_PLAN", "BANYAN_LEGACY_URL", "GATEWAY_ADMIN_TOKENS"}
    assert given | optional >= set(service["environment"])
    assert given <= set(service["environment"])


def test_a_stream_runs_once_or_not_at_all() -> None:
    streams = {name: d for name, d in DEPLOYMENTS.items() if name.startswith("cdc-")}
    assert len(streams) == 6
    for deployment in streams.values():
        assert (deployment["spec"]["replicas"], deployment["spec"]["strategy"]) == (1, {"type": "Recreate"})


#: Words in the names of what is in the secret; the monolith's address is the site's own.
SECRET = ("DSN", "DATABASE_URL", "TOKEN", "KEY", "REDIS", "KAFKA", "WEBHOOK", "LEGACY_URL")


def test_secrets_are_referred_to_and_never_written_down() -> None:
    for deployment in DEPLOYMENTS.values():
        for variable in pod(deployment)["containers"][0]["env"]:
            secret = any(word in variable["name"] for word in SECRET)
            assert ("valueFrom" in variable) == secret, variable["name"]
