"""Pairs of answers that differed, for people: the newest few of each field, without secrets, bounded in bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.shadow.answer import Answer
from gateway.shadow.compare import MISSING, Difference, digest
from gateway.shadow.rules import Rules, is_secret, segment

KEPT = 50
KEPT_BYTES = 1024 * 1024
OF_ONE_FIELD = 3
PAUSE = 5.0  # seconds that a sample of a field stays before a newer one takes its place
LONGEST_BODY = 4096  # characters shown
READABLE_BODY = 64 * 1024  # bytes; a longer one is not looked through for secrets, and so not shown
LONGEST_VALUE = 200
FIELDS_SHOWN = 10
DEEPEST = 40
HIDDEN = "(hidden)"


class Samples:
    def __init__(self) -> None:
        self._kept: deque[tuple[int, dict[str, Any]]] = deque()
        self._bytes = 0

    def __iter__(self) -> Any:
        """Oldest first."""
        return (sample for _, sample in self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def wants(self, now: float, domain: str, operation: str, field: str) -> bool:
        """A field that differs all the time must not push out the others."""
        same = [sample for _, sample in self._kept if _subject(sample) == (domain, operation, field)]
        return len(same) < OF_ONE_FIELD or same[-1]["at"] + PAUSE < now

    def add(self, sample: dict[str, Any]) -> None:
        same = [entry for entry in self._kept if _subject(entry[1]) == _subject(sample)]
        if len(same) >= OF_ONE_FIELD:
            self._drop(same[0])
        size = len(msgspec.json.encode(sample))
        self._kept.append((size, sample))
        self._bytes += size
        while len(self._kept) > KEPT or self._bytes > KEPT_BYTES:
            self._drop(self._kept[0])

    def _drop(self, entry: tuple[int, dict[str, Any]]) -> None:
        self._kept.remove(entry)
        self._bytes -= entry[0]


def _subject(sample: dict[str, Any]) -> tuple[str, str, str]:
    return sample["domain"], sample["operation"], sample["fields"][0]["field"]


def shown_fields(differences: Sequence[Difference], rules: Rules) -> list[dict[str, Any]]:
    return [
        {
            "field": found.field,
            "kind": found.kind,
            "legacy": _shown_value(found.legacy, found.field, rules),
            "service": _shown_value(found.service, found.field, rules),
        }
        for found in differences[:FIELDS_SHOWN]
    ]


def _shown_value(value: Any, field: str, rules: Rules) -> str:
    if value == MISSING:
        return MISSING
    return HIDDEN if rules.hides(field) else _cut(_text(without_secrets(value, field, rules)), LONGEST_VALUE)


def shown_answer(answer: Answer, rules: Rules) -> dict[str, Any]:
    """Status, the headers that were compared, and the payload."""
    names = (b"content-type", *rules.headers)
    headers = {
        name.decode(): _cut(found.decode("latin-1"), LONGEST_VALUE) for name in names if (found := answer.header(name))
    }
    return {"status": answer.status, "headers": headers, "body": _shown_body(answer, rules)}


def _shown_body(answer: Answer, rules: Rules) -> str:
    if not answer.body:
        return ""
    if answer.looks_like_json and len(answer.body) <= READABLE_BODY:
        try:
            return _cut(_text(without_secrets(msgspec.json.decode(answer.body), "$", rules)), LONGEST_BODY)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            pass
    return digest(answer.body)


def without_secrets(value: Any, path: str, rules: Rules, depth: int = 0) -> Any:
    if depth > DEEPEST:
        return HIDDEN
    if isinstance(value, dict):
        shown = {}
        for key, inner in value.items():
            at = f"{path}.{segment(key)}"
            shown[key] = HIDDEN if rules.hides(at) else without_secrets(inner, at, rules, depth + 1)
        return shown
    if isinstance(value, list):
        return [without_secrets(inner, f"{path}[*]", rules, depth + 1) for inner in value]
    return value


def shown_target(target: bytes) -> str:
    """The path and query, without the values of parameters that are secrets by their names."""
    path, mark, query = target.decode("latin-1").partition("?")
    pairs = []
    for pair in query.split("&"):
        name, equals, value = pair.partition("=")
        pairs.append(f"{name}{equals}{HIDDEN if equals and is_secret(name) else value}")
    return _cut(path + mark + "&".join(pairs), 500)


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[:longest] + "…"
