"""The application factory."""

from __future__ import annotations

from pathlib import Path

from litestar import Litestar

from services.chassis.application import create_app
from services.chassis.settings import Settings
from services.pricing.routes import ROUTES

MIGRATIONS = Path(__file__).parent / "migrations"


def pricing(settings: Settings) -> Litestar:
    return create_app(settings, ROUTES, migrations=MIGRATIONS, title="Pricing")
