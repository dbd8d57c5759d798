"""`python -m services.notifications migrate`."""

import sys
from pathlib import Path

from services.chassis.commands import main

if __name__ == "__main__":
    sys.exit(main("notifications", Path(__file__).parent / "migrations"))
