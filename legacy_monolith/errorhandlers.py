"""Turns everything that goes wrong in a request into one JSON answer."""

from __future__ import annotations

import json
import logging

from flask import Flask, Response, current_app, jsonify
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException

from legacy_monolith import guard
from legacy_monolith.errors import ApiError

log = logging.getLogger("legacy")

_TEXTS = {404: "not found", 405: "method not allowed", 413: "the body is too large"}

#: Serialization failure and deadlock: the same request may well pass when it is sent again.
_TRY_AGAIN = {"40001", "40P01", "55P03"}


def init_app(app: Flask) -> None:
    app.register_error_handler(ApiError, _api_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(DBAPIError, _database_error)
    app.register_error_handler(PoolTimeout, _no_connection)
    app.register_error_handler(Exception, _unexpected)


def answer(status: int, message: str) -> Response:
    response = jsonify(error=message)
    response.status_code = status
    return response


def _api_error(error: ApiError) -> Response:
    return answer(error.status, error.message)


def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    response = answer(status, _TEXTS.get(status, error.name.lower()))
    for name, value in error.get_headers():
        if name in {"Allow", "Location", "Retry-After"}:
            response.headers[name] = value
    return response


def _database_error(error: DBAPIError) -> Response:
    if refusal := guard.refusal(error):
        return misdirected(refusal)
    if table := guard.retired(error, current_app.extensions["engine"]):
        return gone(table)
    state = guard.sqlstate(error) or ""
    if state.startswith("22"):
        return answer(422, "a value is out of range")
    if state.startswith("23"):
        return answer(409, "this conflicts with other data")
    log.error("database error", exc_info=error)
    if state in _TRY_AGAIN or error.connection_invalidated or state[:2] in {"", "08", "53", "57"}:
        return _no_connection(error)
    return answer(500, "internal server error")


def misdirected(refusal: guard.Refusal) -> Response:
    """421: the transaction was rolled back; whoever routes may send the request to the owner."""
    problem = {
        "type": "about:blank",
        "title": "Misdirected Request",
        "status": 421,
        "detail": f"{refusal.domain}, wave {refusal.wave}, is owned by {refusal.owner} since epoch {refusal.epoch}",
        "domain": refusal.domain,
        "wave": refusal.wave,
        "owner": refusal.owner,
        "epoch": refusal.epoch,
    }
    response = Response(json.dumps(problem), status=421, content_type="application/problem+json")
    response.headers["Banyan-Owner"] = refusal.owner
    response.headers["Banyan-Epoch"] = str(refusal.epoch)
    response.headers["Banyan-Wave"] = f"{refusal.domain}/{refusal.wave}"
    return response


def gone(table: str) -> Response:
    """410: what was asked for has left this application for good; only who goes past the gateway sees this."""
    detail = f"the rows of {table} are kept by a service now, for good: call it by the gateway"
    problem = {"type": "about:blank", "title": "Gone", "status": 410, "detail": detail}
    return Response(json.dumps(problem), status=410, content_type="application/problem+json")


def _no_connection(_: Exception) -> Response:
    response = answer(503, "the database is not available")
    response.headers["Retry-After"] = "1"
    return response


def _unexpected(error: Exception) -> Response:
    log.error("unexpected error", exc_info=error)
    return answer(500, "internal server error")
