"""The plan's JSON Schema, for editors and for those who write plans by program: kept beside the shipped plan."""

from __future__ import annotations

from pathlib import Path

import msgspec

from migration_plan.plan import File

PUBLISHED = Path(__file__).parent / "plan.schema.json"


def schema() -> bytes:
    """JSON Schema 2020-12 of a plan file. What it cannot say (names that exist, waves without gaps) the linter says."""
    described = msgspec.json.schema(File)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A migration plan of Banyan"}
    return msgspec.json.format(msgspec.json.encode({**head, **described}), indent=2) + b"\n"
