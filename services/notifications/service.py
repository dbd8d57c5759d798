"""The application factory."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from litestar import Litestar
from litestar.datastructures import State

from services.chassis.application import create_app
from services.chassis.settings import Settings
from services.notifications import mailer
from services.notifications.facade.messages import MessagesFacade
from services.notifications.facade.preferences import PreferencesFacade
from services.notifications.sending import Sender

MIGRATIONS = Path(__file__).parent / "migrations"
ROUTES = [MessagesFacade, PreferencesFacade]


def notifications(settings: Settings, deliver: mailer.Deliver | None = None) -> Litestar:
    """`deliver` replaces the mail server of the settings."""

    def background(state: State) -> AbstractAsyncContextManager[None]:
        state.sender = sender = Sender(state.engine, state.metrics, deliver or mailer.over(settings.smtp_url))
        state.rehearsal = Sender(state.engine, state.metrics, mailer.nowhere)
        return sender.running()

    return create_app(settings, ROUTES, migrations=MIGRATIONS, title="Notifications", background=background)
