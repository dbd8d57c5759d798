"""Who follows the README with curl gets answers, and what it says of the seeded customers is so."""

from __future__ import annotations

import json
import re
import stat
import subprocess

import pytest

from legacy_monolith import seed
from tests.e2e.conftest import ROOT, Stack
from tests.e2e.test_documents import blocks


@pytest.mark.e2e
def test_the_readmes_calls_of_the_api_are_answered(stack: Stack):
    [script] = [block for block in blocks(ROOT / "README.md") if "curl" in block]
    assert "/login" in script
    assert f'"password": "{seed.PASSWORD}"' in script
    script = re.sub(r"(?<=[ \t])\.banyan/", f"{stack.home}/", script).replace("curl -sf", "curl -sf -w '\\n'")
    done = subprocess.run(
        ["sh", "-eu", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    index, tariffs, login, quote, customers = (json.loads(line) for line in done.stdout.splitlines() if line)
    assert "/api/quotes" in index["resources"]
    assert tariffs["tariffs"]
    assert quote["customer_id"] == login["customer_id"]
    assert len(customers["customers"]) == 2
    assert stat.S_IMODE((stack.home / "cookies").stat().st_mode) == 0o600


@pytest.mark.e2e
def test_a_browser_at_the_gateway_gets_a_page(stack: Stack):
    with stack.client() as client:
        page = client.get("/", headers={"Accept": "text/html"})
    assert page.status_code == 200
    assert "/api/tariffs" in page.text
