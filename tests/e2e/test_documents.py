"""The commands in README and runbook are run as they stand, in order."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT, Stack, banyan, start_stack
from tests.e2e.journey import state


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[Stack]:
    home = tmp_path / "home"
    try:
        yield start_stack(home, "--agents", "0")
    finally:
        banyan(home, "down", check=False)


def blocks(document: Path) -> list[str]:
    """The fenced `sh` blocks of a document."""
    return re.findall(r"^```sh\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL)


def run_as_written(stack: Stack, script: str) -> None:
    env = {**os.environ, "BANYAN_HOME": str(stack.home), "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


@pytest.mark.e2e
@pytest.mark.long  # minutes of clients, switches and comparisons
@pytest.mark.timeout(420)
def test_the_runbook_works_as_it_stands(own_stack: Stack):
    """On a stack of its own: a domain that is completed does not come back."""
    scripts = blocks(ROOT / "migration_plan" / "RUNBOOK.md")
    assert len(scripts) >= 5
    for script in scripts:
        run_as_written(own_stack, script)
    assert state(own_stack, "pricing")["phase"] == "legacy"
    assert state(own_stack, "notifications")["phase"] == "retired"
    with own_stack.client() as client:
        sent = {"customer_id": 1, "channel": "E", "subject": "s", "body": "b"}
        assert client.post("/api/notifications", json=sent).status_code == 201, "the service answers as before"
        past = client.get(f"{own_stack.env['BANYAN_LEGACY_URL']}/api/notifications?limit=1")
        assert (past.status_code, past.headers["Content-Type"]) == (410, "application/problem+json")
    refused = own_stack.banyan("complete", "pricing", "--dry-run", check=False)
    assert refused.returncode == 1
    assert "billing (foreign key public.tariff: constraint invoice_tariff_id_fkey" in refused.stdout


@pytest.mark.e2e
@pytest.mark.timeout(200)
def test_the_readmes_operating_commands_work_as_they_stand(stack: Stack):
    operate = next(block for block in blocks(ROOT / "README.md") if "banyan status" in block)
    commands = [line.split("#")[0].strip() for line in operate.splitlines() if line.startswith(".venv/bin/banyan")]
    assert len(commands) >= 3
    for command in commands:
        run_as_written(stack, command)
    while state(stack, "pricing")["phase"] != "legacy":
        stack.banyan("rollback", "pricing", "--yes", "--reason", "test")


def test_every_make_target_that_the_readme_names_exists():
    targets = set(re.findall(r"(?:^|`)make ([a-z-]+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    makefile = (ROOT / "Makefile").read_text()
    assert targets
    assert [t for t in targets if not re.search(rf"^{t}:", makefile, re.MULTILINE)] == []


def test_every_file_that_a_document_links_to_exists():
    for document in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "docs" / "plan.md",
        ROOT / "migration_plan" / "RUNBOOK.md",
    ):
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name} links to {target}"
