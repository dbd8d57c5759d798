"""What granian serves: `services.notifications.app:app`."""

from services.chassis.settings import load
from services.notifications.service import notifications

app = notifications(load("notifications"))
