"""The monolith's own black-box tests pass with each domain at its service."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from banyan.servers import Postgres
from tests.integration.services.processes import (
    KEY,
    ROOT,
    migrated,
    new_database,
    running_monolith,
    running_service,
)
from tests.integration.services.splitter import split


@pytest.mark.parametrize("domain", ["pricing", "devices", "notifications"])
def test_the_service_keeps_the_monoliths_contract(
    domain: str, postgres: Postgres, service_postgres: Postgres, tmp_path: Path
) -> None:
    dsn = migrated(service_postgres, domain)
    with (
        running_monolith(new_database(postgres, "legacy"), tmp_path / "monolith.log") as monolith,
        running_service(domain, dsn, tmp_path / "service.log") as service,
        split(domain, service, monolith, dsn) as front,
    ):
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"),
                f"legacy_monolith/tests/characterization/test_{domain}_contract.py",
            ],
            cwd=ROOT,
            env={**os.environ, "CHARACTERIZATION_BASE_URL": front, "CHARACTERIZATION_BACKOFFICE_KEY": KEY},
            capture_output=True,
            text=True,
            timeout=110,
        )
    assert done.returncode == 0, done.stdout[-6000:] + (tmp_path / "service.log").read_text()[-2000:]
