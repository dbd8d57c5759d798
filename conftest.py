"""What holds for every test of the repository: its fixtures, and what makes processes cheap."""

import os
import shutil
import sys
from pathlib import Path

from hypothesis import settings

# Each worker, and each process that a test starts, would compile all its modules anew: more than half of its CPU.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# Most of the monolith's CPU under test would go into passwords, of which each test makes some.
os.environ.setdefault("LEGACY_PASSWORD_METHOD", "scrypt:256:8:1")
# Workers that look for a free port at the same time must not find the same one.
if (worker := os.environ.get("PYTEST_XDIST_WORKER", "")).startswith("gw"):
    first = 10_240 + int(worker[2:]) % 8 * 2_800
    os.environ["BANYAN_PORT_RANGE"] = f"{first}-{first + 2_799}"

# Databases are files, and each test wants fresh ones: on a disk a new one costs five times the CPU.
memory = Path("/dev/shm")  # noqa: S108
if memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 8 << 30:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(memory))

# No test is judged by its time on a machine that does other things too.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

if os.environ.get("GATEWAY_COMPILED") == "1":  # `make test-compiled`: what every process of the gateway takes by itself
    from gateway import compiled

    assert compiled.use(), "not compiled: make compile"

pytest_plugins = ["tests.fixtures.places", "tests.fixtures.servers", "tests.fixtures.kafka"]
