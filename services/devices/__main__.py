"""`python -m services.devices migrate`."""

import sys
from pathlib import Path

from services.chassis.commands import main

if __name__ == "__main__":
    sys.exit(main("devices", Path(__file__).parent / "migrations"))
