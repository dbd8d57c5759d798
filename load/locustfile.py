"""`locust -f load/locustfile.py --headless -u 40 -r 20 -t 60s`: clients and agents at a steady load, and objectives."""

from load.objectives import Objectives, watch
from load.users import DeviceAgent, PricingClient

__all__ = ["DeviceAgent", "PricingClient"]

watch(Objectives.from_env())
