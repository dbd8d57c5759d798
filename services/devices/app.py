"""What granian serves: `services.devices.app:app`."""

from services.chassis.settings import load
from services.devices.service import devices

app = devices(load("devices"))
