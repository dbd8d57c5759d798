"""Draws the view: the whole page, or the fragments of it that change."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import jinja2

from console.acts import OFFERS, Ask, Look
from console.jobs import Job
from console.sessions import Session
from console.view import View

HERE = Path(__file__).parent
STATIC = HERE / "static"


@dataclass(frozen=True, slots=True)
class Bar:
    """`can_log_in`: this console has what the verbs need. `domains`: what each domain's buttons ask for besides."""

    can_log_in: bool = False
    session: Session | None = None
    domains: Mapping[str, Choices] = field(default_factory=dict)

    @property
    def may_act(self) -> bool:
        return self.session is not None and self.session.may_act


@dataclass(frozen=True, slots=True)
class Choices:
    waves: int
    percents: tuple[int, ...]


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
_templates.globals["offers"] = tuple(OFFERS.values())


def page(view: View, bar: Bar | None = None) -> str:
    """`bar`: what the page offers to who asks for it; nothing to who only may look."""
    return _templates.get_template("page.html").render(view=view, bar=bar or Bar())


def login(problem: str = "", why: str = "") -> str:
    """`why`: why nobody can log in here."""
    return _templates.get_template("login.html").render(problem=problem, why=why)


def look(ask: Ask, found: Look) -> str:
    """The dry run, and the form that confirms it."""
    return _templates.get_template("look.html").render(ask=ask, look=found)


def job(of: Job) -> str:
    return _templates.get_template("job.html").render(job=of)


def progress(of: Job) -> str:
    return _templates.get_template("progress.html").render(job=of)


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
