"""`GET /`: what can be called, as JSON, or as a page for a browser. Made from the routes themselves."""

from __future__ import annotations

import re
from html import escape

from flask import Response, current_app, jsonify, request

ABOUT = "The energy retailer's API: customers, tariffs and prices, quotes, readings, billing, batteries, notices."
CALLERS = "Anyone, a customer (POST /login), the back office (X-Api-Key), a device (X-Device-Token)."

_PAGE = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Energy retailer</title></head>
<body><h1>Energy retailer</h1><p>{about}</p><p>Who may call: {callers}</p>
<p>In good health? <a href="/health">/health</a></p>
<ul>
{items}
</ul></body></html>
"""


def index() -> Response:
    resources = _resources()
    if request.accept_mimetypes.best_match(["application/json", "text/html"], "application/json") == "text/html":
        items = "\n".join(f"<li>{_link(path, methods)}</li>" for path, methods in resources.items())
        response = Response(_PAGE.format(about=escape(ABOUT), callers=escape(CALLERS), items=items))
    else:
        response = jsonify(about=ABOUT, callers=CALLERS, health="/health", resources=resources)
    response.headers["Vary"] = "Accept"
    return response


def _resources() -> dict[str, list[str]]:
    """Path template → methods, by path."""
    found: dict[str, set[str]] = {}
    for rule in current_app.url_map.iter_rules():
        if rule.rule not in ("/", "/health", "/metrics"):
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
            found.setdefault(path, set()).update((rule.methods or set()) - {"HEAD", "OPTIONS"})
    return {path: sorted(found[path]) for path in sorted(found)}


def _link(path: str, methods: list[str]) -> str:
    text = escape(path)
    plain = "GET" in methods and "{" not in path
    return f"{' '.join(methods)} " + (f'<a href="{text}">{text}</a>' if plain else text)
