"""What holds for every test of the repository: its fixtures, and that Python may keep what it compiled."""

import os
import sys

# Each worker, and each process that a test starts, would compile all its modules anew: more than half of its CPU.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

pytest_plugins = ["tests.fixtures.places", "tests.fixtures.servers", "tests.fixtures.kafka"]
