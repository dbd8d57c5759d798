"""The rules of one operation, compiled for comparing: which fields count, which numbers and lists are equal enough."""

from __future__ import annotations

import re
from collections.abc import Iterable

from gateway.control.comparison import Comparison, Tolerance

#: Names whose values are never shown, whatever the plan says.
_SECRET = re.compile(
    r"(?i)password|passwd|passphrase|secret|token|authorization|signature|api[-_]?key|session|csrf"
    r"|(?:^|_)(?:otp|pin|cvv|iban)$"
)
_REMEMBERED = 4096  # paths; a body with more different ones is looked up anew
_BY_NAME = re.compile(r"[.\[\]\s*]")


def segment(name: str) -> str:
    """A key of an object as a part of a path: one segment, and not a long one."""
    return _BY_NAME.sub("_", name[:60]) or "_"


def _expression(path: str) -> str:
    found = re.escape(path).replace(r"\[\*\]", "\0")
    found = found.replace(r"\.\*\*", r"(?:\.[^.\[]+|\[\*\])*").replace(r"\.\*", r"\.[^.\[]+")
    return found.replace("\0", r"\[\*\]")


def _any_of(paths: Iterable[str]) -> re.Pattern[str] | None:
    """Matches these paths, and whatever is beneath them."""
    expressions = [_expression(path) for path in paths]
    return re.compile(f"(?:{'|'.join(expressions)})(?=$|[.\\[])") if expressions else None


class Rules:
    def __init__(self, said: Comparison) -> None:
        self.skip = said.skip
        self.headers = tuple(dict.fromkeys(name.lower().encode() for name in said.headers))
        self._ignored = _any_of(said.ignore)
        self._redacted = _any_of(said.redact)
        self._tolerances = [(re.compile(_expression(rule.path)), rule) for rule in said.tolerances]
        self._unordered = [(re.compile(_expression(rule.path)), rule.key) for rule in said.unordered]
        self._known: dict[str, bool] = {}

    def ignores(self, path: str) -> bool:
        if self._ignored is None:
            return False
        known = self._known.get(path)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[path] = self._ignored.match(path) is not None
        return known

    def tolerance(self, path: str) -> Tolerance | None:
        return next((rule for pattern, rule in self._tolerances if pattern.fullmatch(path)), None)

    def unordered(self, path: str) -> str | None:
        """The field that the list's elements are matched by ("": as wholes); None where the order counts."""
        return next((key for pattern, key in self._unordered if pattern.fullmatch(path)), None)

    def hides(self, path: str) -> bool:
        """A secret by the plan, or by its name."""
        if is_secret(path.rpartition(".")[2].replace("[*]", "")):
            return True
        return self._redacted is not None and self._redacted.match(path) is not None


PLAIN = Rules(Comparison())


def is_secret(name: str) -> bool:
    return _SECRET.search(name) is not None
