"""The commands in README and runbook are run as they stand, in order."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT, Stack
from tests.e2e.journey import state


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
@pytest.mark.timeout(300)
def test_the_runbook_works_as_it_stands(stack: Stack):
    scripts = blocks(ROOT / "migration_plan" / "RUNBOOK.md")
    assert len(scripts) >= 5
    for script in scripts:
        run_as_written(stack, script)
    assert state(stack, "pricing")["phase"] == "legacy"


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
    for document in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "migration_plan" / "RUNBOOK.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name} links to {target}"
