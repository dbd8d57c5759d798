"""`python -m gateway compile`: makes what `compiled` takes. Needs mypy (the compiler is its own) and a C compiler."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from gateway.compiled import PACKAGE, data_path, folder
from gateway.errors import NotCompiled

MOST_SECONDS = 900.0
# Checked elsewhere, by the project's own settings; here it is only asked what the types are.
_SETTINGS = "[mypy]\nnamespace_packages = True\nexplicit_package_bases = True\nignore_missing_imports = True\n"


def compile_data_path() -> tuple[Path, bool]:
    """(where it is, whether it had to be made). Raises: NotCompiled."""
    made = folder()
    if made.is_dir():
        return made, False
    for module, package in (("mypyc", "mypy"), ("setuptools", "setuptools")):
        if find_spec(module) is None:
            raise NotCompiled(f"{package} is not installed: pip install {package}, or make setup-dev")
    with _alone(made.parent):
        if not made.is_dir():  # somebody else made it meanwhile
            _make(made)
    return made, True


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[None]:
    try:
        home.mkdir(exist_ok=True)
        lock = os.open(home / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise NotCompiled(f"nothing can be written to {home}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _make(made: Path) -> None:
    with tempfile.TemporaryDirectory(dir=made.parent, prefix="making-", ignore_cleanup_errors=True) as name:
        work = Path(name)
        shutil.copytree(PACKAGE, work / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        (work / "mypy.ini").write_text(_SETTINGS)
        modules = [str(path.relative_to(PACKAGE.parent)) for path in data_path()]
        command = [sys.executable, "-m", "gateway.compiling", *modules]
        try:
            done = subprocess.run(
                command, cwd=work, capture_output=True, text=True, timeout=MOST_SECONDS, stdin=subprocess.DEVNULL,
                env={**os.environ, "GATEWAY_COMPILED": "0"}, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise NotCompiled(f"the compiler took more than {MOST_SECONDS:.0f} s") from None
        log = made.parent / "compile.log"
        log.write_text(done.stdout + done.stderr)
        if done.returncode != 0:
            raise NotCompiled(f"{_why(done.stdout + done.stderr)} (all of it: {log})")
        shutil.rmtree(work / "build", ignore_errors=True)
        for old in made.parent.glob("[0-9a-f]" * 16):
            shutil.rmtree(old, ignore_errors=True)  # of sources that are no more
        work.rename(made)


def _why(said: str) -> str:
    if "Python.h" in said:
        return "Python's headers are not installed: install your system's python3-dev"
    lines = [line for line in said.splitlines() if "error:" in line.lower() or "No such file" in line]
    return lines[0].strip() if lines else (said.strip().splitlines() or ["the compiler ended without a word"])[-1]


def _build(modules: list[str]) -> None:
    """In a folder that holds a copy of the package."""
    from mypyc.build import mypycify
    from setuptools import setup  # type: ignore[import-untyped, unused-ignore]

    setup(
        name="gateway-compiled", packages=[], script_args=["--quiet", "build_ext", "--inplace"],
        ext_modules=mypycify(["--config-file", "mypy.ini", *modules], opt_level="3", debug_level="0"),
    )  # fmt: skip


if __name__ == "__main__":
    _build(sys.argv[1:])
