"""All models, so that the metadata is complete for whoever imports this."""

from legacy_monolith.base import Base
from legacy_monolith.billing.models import Invoice, InvoiceLine
from legacy_monolith.cron.models import CronRun, ImbalancePrice
from legacy_monolith.customers.models import Contract, Customer
from legacy_monolith.devices.models import Ack, BatteryCommand, Device, Schedule
from legacy_monolith.metering.models import Meter, Reading
from legacy_monolith.notifications.models import Notification, NotificationPref
from legacy_monolith.pricing.models import Price, PriceDaily, Quote, Tariff, TariffRate

__all__ = [
    "Ack",
    "Base",
    "BatteryCommand",
    "Contract",
    "CronRun",
    "Customer",
    "Device",
    "ImbalancePrice",
    "Invoice",
    "InvoiceLine",
    "Meter",
    "Notification",
    "NotificationPref",
    "Price",
    "PriceDaily",
    "Quote",
    "Reading",
    "Schedule",
    "Tariff",
    "TariffRate",
]
