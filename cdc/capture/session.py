"""An ordinary connection to a source: SQL, with the settings under which capture reads values."""

from __future__ import annotations

from typing import Any

import psycopg

from cdc.capture.types import SESSION_OPTIONS
from cdc.errors import Transient, first_line


def open_source(dsn: str, stream: str, purpose: str = "look") -> psycopg.Connection[Any]:
    """Autocommit. Raises: Transient."""
    try:
        return psycopg.connect(
            dsn,
            autocommit=True,
            options=SESSION_OPTIONS,
            application_name=f"banyan-cdc {stream} {purpose}",
            connect_timeout=5,
        )
    except psycopg.OperationalError as e:
        raise Transient(f"cannot connect to the source: {first_line(e)}") from e
