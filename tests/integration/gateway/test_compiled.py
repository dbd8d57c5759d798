"""Machine code of the data path: taken when it is of these very sources, and made by one command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from gateway import compiled
from tests.integration.gateway import running
from tests.integration.gateway.upstream import Upstream

COPY = (".compiled", "__pycache__")
SAYS = "import gateway.compiled as c; print(c.use()); import gateway.http1.lines as m; print(m.__file__)"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package, as an image has it."""
    return shutil.copytree(compiled.PACKAGE, tmp_path / "gateway", ignore=shutil.ignore_patterns(*COPY))


def python(package: Path, *arguments: str, **given: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "HOME": str(package.parent), **given}
    return subprocess.run(
        [sys.executable, *arguments], cwd=package.parent, env=env, capture_output=True, text=True, timeout=900
    )


def says(package: Path, **given: str) -> list[str]:
    return python(package, "-c", SAYS, **given).stdout.split()


def pretend(package: Path) -> Path:
    """What is taken for machine code of `package`."""
    found = python(package, "-c", "import gateway.compiled as c; print(c.folder())").stdout.strip()
    shutil.copytree(package, Path(found) / "gateway")
    return Path(found)


def test_without_it_the_sources_are_run(package: Path) -> None:
    assert says(package) == ["False", str(package / "http1" / "lines.py")]


def test_what_was_made_of_these_sources_is_taken_and_not_when_it_is_switched_off(package: Path) -> None:
    made = pretend(package)
    assert says(package) == ["True", str(made / "gateway" / "http1" / "lines.py")]
    assert says(package, GATEWAY_COMPILED="0") == ["False", str(package / "http1" / "lines.py")]


def test_a_changed_line_anywhere_in_the_package_is_run_as_it_was_written(package: Path) -> None:
    pretend(package)
    path = package / "control" / "audit.py"
    path.write_text(path.read_text() + "\n# another\n")
    assert says(package) == ["False", str(package / "http1" / "lines.py")]


def test_what_the_compiler_needs_is_named(package: Path) -> None:
    done = python(package, "-S", "-c", "from gateway.compiling import compile_data_path; compile_data_path()")
    assert "NotCompiled: mypy is not installed: pip install mypy, or make setup-dev" in done.stderr


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here")
async def test_a_gateway_that_was_compiled_serves_and_is_not_compiled_twice(
    package: Path, tmp_path: Path, sides: tuple[Upstream, Upstream]
) -> None:
    first = python(package, "-m", "gateway", "compile")
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("compiled: ")
    assert python(package, "-m", "gateway", "compile").stdout.startswith("is compiled already: ")
    assert says(package)[1].endswith(".so")
    env = running.environment(tmp_path / "state", GATEWAY_TABLE=running.first(tmp_path, sides))
    process = subprocess.Popen([sys.executable, "-m", "gateway", "serve"], cwd=tmp_path, env=env)
    gateway = running.Running(process, tmp_path / "state")
    try:
        await running.ready(gateway)
        libraries = [Path(f"/proc/{pid}/maps").read_text() for pid in gateway.children()]
        assert any(".compiled" in found for found in libraries)
        async with httpx.AsyncClient(base_url=gateway.url) as client:
            assert (await client.get("/items")).status_code == 200
    finally:
        assert gateway.stop() == 0
