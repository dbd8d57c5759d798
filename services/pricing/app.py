"""What granian serves: `services.pricing.app:app`."""

from services.chassis.settings import load
from services.pricing.service import pricing

app = pricing(load("pricing"))
