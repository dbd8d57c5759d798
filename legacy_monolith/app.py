"""The application factory."""

from __future__ import annotations

from flask import Flask, Response, jsonify
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.routing import IntegerConverter

from legacy_monolith import db, errorhandlers, metrics, models, requestlog
from legacy_monolith.billing.views import blueprint as billing
from legacy_monolith.cron.thread import Cron
from legacy_monolith.customers.contracts import blueprint as contracts
from legacy_monolith.customers.login import blueprint as login
from legacy_monolith.customers.views import blueprint as customers
from legacy_monolith.devices.acks import blueprint as acks
from legacy_monolith.devices.views import blueprint as devices
from legacy_monolith.errorhandlers import answer
from legacy_monolith.index import index
from legacy_monolith.metering.views import blueprint as metering
from legacy_monolith.notifications.preferences import blueprint as preferences
from legacy_monolith.notifications.views import blueprint as notifications
from legacy_monolith.pricing.prices import blueprint as prices
from legacy_monolith.pricing.quotes import blueprint as quotes
from legacy_monolith.pricing.tariffs import blueprint as tariffs
from legacy_monolith.settings import Settings
from legacy_monolith.validators import BIGINT_MAX

#: 10,000 prices or readings fit several times.
MAX_BODY = 4 * 1024 * 1024

BLUEPRINTS = (
    billing,
    login,
    customers,
    contracts,
    metering,
    tariffs,
    prices,
    quotes,
    devices,
    acks,
    notifications,
    preferences,
)


class IdConverter(IntegerConverter):
    """An id in a path; one that no bigint can hold is an unknown route, not a database error."""

    def __init__(self, url_map, *args, **kwargs):
        super().__init__(url_map, *args, max=BIGINT_MAX, **kwargs)


def create_app(settings: Settings) -> Flask:
    models.Base.registry.configure()  # foreign keys cross areas, so all models have to be known
    app = Flask("legacy_monolith", static_folder=None)
    app.config.update(SECRET_KEY=settings.secret_key, MAX_CONTENT_LENGTH=MAX_BODY, SESSION_COOKIE_SAMESITE="Lax")
    app.json.compact = True
    app.extensions["settings"] = settings
    app.url_map.converters["id"] = IdConverter
    engine = db.make_engine(settings.database_url)
    db.init_app(app, engine)
    requestlog.init_app(app)
    errorhandlers.init_app(app)
    metrics.init_app(app)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    app.add_url_rule("/", view_func=index)
    app.add_url_rule("/health", view_func=health)
    if settings.cron:
        app.extensions["cron"] = Cron(engine, settings.smtp_url)
        app.extensions["cron"].start()
    return app


def health() -> Response:
    try:
        db.is_up()
    except SQLAlchemyError:
        return answer(503, "the database is not available")
    return jsonify(status="ok")
