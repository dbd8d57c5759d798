"""`/metrics` by prometheus-flask-exporter: summed over workers under gunicorn, of this process elsewhere."""

from __future__ import annotations

import os

from flask import Flask
from prometheus_client import CollectorRegistry
from prometheus_flask_exporter import PrometheusMetrics
from prometheus_flask_exporter.multiprocess import GunicornInternalPrometheusMetrics


def init_app(app: Flask) -> None:
    # By endpoint, not by path: ids in paths would make a new series each.
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        GunicornInternalPrometheusMetrics(app, path="/metrics", group_by="endpoint", defaults_prefix="legacy")
    else:
        PrometheusMetrics(
            app, path="/metrics", group_by="endpoint", defaults_prefix="legacy", registry=CollectorRegistry()
        )
