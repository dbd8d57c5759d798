"""The application factory."""

from __future__ import annotations

from pathlib import Path

from litestar import Litestar

from services.chassis.application import create_app
from services.chassis.settings import Settings
from services.devices.routes import ROUTES
from services.devices.store.devices import device_lookup

MIGRATIONS = Path(__file__).parent / "migrations"


def devices(settings: Settings) -> Litestar:
    return create_app(settings, ROUTES, migrations=MIGRATIONS, title="Devices", device_lookup=device_lookup)
