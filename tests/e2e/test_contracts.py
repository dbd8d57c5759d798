"""The monolith's characterization tests pass unchanged through the gateway, whoever serves a domain."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import ROOT, Stack
from tests.e2e.journey import at_service

CONTRACT = ROOT / "legacy_monolith" / "tests" / "characterization"


def characterize(stack: Stack) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", str(CONTRACT)],
        cwd=ROOT,
        env={
            **os.environ,
            "CHARACTERIZATION_BASE_URL": stack.gateway,
            "CHARACTERIZATION_BACKOFFICE_KEY": stack.env["LEGACY_BACKOFFICE_KEY"],
        },
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


@pytest.fixture
def moved(stack: Stack, request: pytest.FixtureRequest) -> Iterator[str]:
    with at_service(stack, request.param):
        yield request.param


@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_through_the_gateway_with_everything_at_the_monolith(stack: Stack):
    characterize(stack)


@pytest.mark.e2e
@pytest.mark.timeout(900)
@pytest.mark.parametrize("moved", ["pricing", "devices", "notifications"], indirect=True)
def test_through_the_gateway_with_a_domain_at_its_service(stack: Stack, moved: str):
    characterize(stack)
