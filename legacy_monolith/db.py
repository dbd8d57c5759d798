"""One engine a process; one session a request, closed (and so rolled back unless committed) when the request ends."""

from __future__ import annotations

from flask import Flask, current_app, g
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.orm import Session

from legacy_monolith.settings import sqlalchemy_url

#: Threads of one gunicorn worker; a request holds at most a session and a reading connection.
THREADS = 8


def make_engine(url: str) -> Engine:
    return create_engine(
        sqlalchemy_url(url),
        pool_size=THREADS,
        max_overflow=THREADS,
        pool_timeout=5,
        pool_pre_ping=True,
        connect_args={"connect_timeout": 5, "options": "-c statement_timeout=30000", "application_name": "legacy"},
    )


def init_app(app: Flask, engine: Engine) -> None:
    app.extensions["engine"] = engine
    app.teardown_request(_close)


def session() -> Session:
    """This request's session: what is written in it is kept by `session().commit()` only."""
    if "session" not in g:
        g.session = Session(current_app.extensions["engine"], expire_on_commit=False)
    return g.session


def read() -> Connection:
    """This request's connection for single statements that read; no transaction around them, no round trips for one."""
    if "reading" not in g:
        g.reading = current_app.extensions["engine"].connect().execution_options(isolation_level="AUTOCOMMIT")
    return g.reading


def is_up() -> bool:
    with current_app.extensions["engine"].connect() as connection:
        return connection.execute(text("SELECT 1")).scalar() == 1


def _close(_: BaseException | None) -> None:
    for name in ("session", "reading"):
        if opened := g.pop(name, None):
            opened.close()
