"""Every route of the service: the monolith's contract and v2, side by side."""

from __future__ import annotations

from litestar.types import ControllerRouterHandler

from services.devices.facade.acks import AcksFacade
from services.devices.facade.devices import DevicesFacade, get_schedule
from services.devices.v2.commands import CommandsV2, command_progress
from services.devices.v2.devices import DevicesV2
from services.devices.v2.enrolments import EnrolmentsV2
from services.devices.v2.fleet import FleetV2
from services.devices.v2.market import MarketV2
from services.devices.v2.optimize import OptimizeV2
from services.devices.v2.publishing import PublishingV2
from services.devices.v2.reports import ReportsV2
from services.devices.v2.updates import UpdatesV2

ROUTES: list[ControllerRouterHandler] = [
    DevicesFacade,
    AcksFacade,
    get_schedule,
    DevicesV2,
    PublishingV2,
    CommandsV2,
    command_progress,
    EnrolmentsV2,
    ReportsV2,
    FleetV2,
    UpdatesV2,
    MarketV2,
    OptimizeV2,
]
