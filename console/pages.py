"""Draws the view: the whole page, or the fragments of it that change."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path

import jinja2

from console.view import View

HERE = Path(__file__).parent
STATIC = HERE / "static"

_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def slug(name: str) -> str:
    """A domain's name as an event name and an element id."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _version() -> str:
    """Changes with the static files, so that no browser keeps old ones."""
    files = sorted(path for path in STATIC.rglob("*") if path.is_file())
    return sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]


_templates.filters["slug"] = slug
_templates.globals["version"] = _version()


def page(view: View) -> str:
    return _templates.get_template("page.html").render(view=view)


def fragments(view: View) -> dict[str, str]:
    """Event → HTML, as the page's `sse-swap` elements take it."""
    found = {
        name: _templates.get_template(f"{name}.html").render(view=view)
        for name in ("headline", "notices", "latest", "strip", "ledger")
    }
    card = _templates.get_template("domain.html")
    found |= {f"domain-{slug(domain.name)}": card.render(domain=domain) for domain in view.domains}
    found["structure"] = view.structure
    return found
