"""What granian serves: `services.devices.app:app`."""

import os

from services.chassis.settings import load
from services.devices.fleet import settings as fleet
from services.devices.market import settings as market
from services.devices.service import devices

app = devices(load("devices"), market.load(os.environ), fleet.load(os.environ))
