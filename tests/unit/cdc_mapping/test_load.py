"""A mapping file says exactly what docs/architecture.md §8 allows; everything else is refused with its line."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from cdc.mapping import Mapping, MappingError, lint, load

GOOD = """\
domain: shop
keep_triggers: [public.item.tally]
tables:
  - legacy: public.item
    service: store.items
    key: {legacy: [id], service: [id]}
    bucket_key: {legacy: shop, service: shop_id}
    columns:
      - id
      - {legacy: shop, service: shop_id}
      - {legacy: [ts, flag], service: at, convert: local_hour, zone: Europe/Amsterdam}
      - {legacy: status, service: state, convert: enum, values: {N: new, Y: "yes"}}
  - legacy: public.client
    service: store.client_refs
    direction: forward
    key: {legacy: id, service: id}
    columns: [id]
"""


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "shop.yaml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def good(write) -> Mapping:
    return load(write(GOOD))


def test_a_table_looks_right_from_both_ends(good: Mapping) -> None:
    item = good.tables[0]
    assert (good.domain, good.keep_triggers) == ("shop", ("public.item.tally",))
    assert (item.legacy, item.service, item.direction) == ("public.item", "store.items", "both")
    assert (item.source("forward"), item.target("forward")) == ("public.item", "store.items")
    assert (item.source("reverse"), item.target("reverse")) == ("store.items", "public.item")
    assert (item.key("reverse"), item.source_key("reverse")) == (("id",), ("id",))
    assert item.columns("forward") == ("id", "shop_id", "at", "state")
    assert item.columns("reverse") == ("id", "shop", "ts", "flag", "status")
    assert set(item.source_columns("forward")) == set(item.columns("reverse"))
    assert (item.bucket_key("legacy"), item.bucket_key("service")) == ("shop", "shop_id")


def test_reference_data_has_no_way_back(good: Mapping) -> None:
    assert [table.legacy for table in good.moving("reverse")] == ["public.item"]
    assert [table.legacy for table in good.moving("forward")] == ["public.item", "public.client"]
    with pytest.raises(MappingError, match="reference data"):
        good.tables[1].translate({"id": 1}, "reverse")


def test_a_row_is_translated_both_ways(good: Mapping) -> None:
    row = {"id": 1, "shop": 2, "ts": datetime(2024, 10, 27, 2), "flag": "B", "status": "N"}
    there = {"id": 1, "shop_id": 2, "at": datetime(2024, 10, 27, 1, tzinfo=UTC), "state": "new"}
    assert good.tables[0].translate(row, "forward") == there
    assert good.tables[0].translate(there, "reverse") == row


@pytest.mark.parametrize(
    ("row", "there"),
    [
        ({}, {}),
        ({"id": 5}, {"id": 5}),
        ({"ts": datetime(2024, 1, 1)}, {}),
        ({"status": "Y", "unknown": 1}, {"state": "yes"}),
    ],
)
def test_of_a_partial_row_only_what_it_determines(good: Mapping, row, there) -> None:
    assert good.tables[0].translate(row, "forward") == there


BAD = [
    ("domain: shop", "domain: shop\nowner: me", 2, "unknown key 'owner' in the mapping"),
    ("domain: shop\n", "", 1, "lacks 'domain'"),
    ("    service: store.items\n", "", 4, "a table lacks 'service'"),
    ("    service: store.items", "    service: items", 5, "is not schema.table"),
    ("    service: store.items", "    service: store.items\n    filter: x", 6, "unknown key 'filter' in a table"),
    ("      - id\n", "      - id\n      - id\n", 10, "column id of public.item is mapped twice"),
    ("service: shop_id}\n      - {", "service: at}\n      - {", 11, "column at of store.items is mapped twice"),
    ("convert: local_hour", "convert: local_our", 11, "unknown converter 'local_our': use local_hour"),
    ("convert: local_hour", "convert: 'no.such:thing'", 11, "cannot be imported"),
    ("convert: local_hour", "convert: 'cdc.mapping.converters:EXACT'", 11, "is not a function"),
    (", zone: Europe/Amsterdam", "", 11, "needs 'zone'"),
    ("zone: Europe/Amsterdam", "zone: Europe/Atlantis", 11, "unknown time zone 'Europe/Atlantis'"),
    ("zone: Europe/Amsterdam", "zone: Europe/Amsterdam, fold: 1", 11, "takes zone, not 'fold'"),
    ("{legacy: [ts, flag], service: at", "{legacy: ts, service: at", 11, "takes 2 legacy and 1 service columns, not 1"),
    ('{N: new, Y: "yes"}', "{N: new, Y: new}", 12, "two codes have the same word"),
    ("- {legacy: shop, service: shop_id}", "- {legacy: shop, service: shop_id, zone: x}", 10, "unknown key 'zone'"),
    ("- {legacy: shop, service: shop_id}", "- {legacy: shop}", 10, "lacks its service name"),
    ("- {legacy: shop, service: shop_id}", "- {legacy: [a, b], service: shop_id}", 10, "need a converter"),
    ("- {legacy: shop, service: shop_id}", "- {legacy: '', service: shop_id}", 10, "must be a name"),
    ("key: {legacy: [id], service: [id]}", "key: {legacy: [id], service: [shop_id]}", 6, "mapped one to one"),
    ("key: {legacy: [id], service: [id]}", "key: {legacy: [status], service: [state]}", 6, "mapped one to one"),
    ("bucket_key: {legacy: shop, service: shop_id}", "bucket_key: {legacy: id, service: shop_id}", 7, "bucket must be"),
    ("direction: forward", "direction: backward", 15, "direction is both or forward"),
    ("[public.item.tally]", "[public.other.tally]", 2, "of a table of this mapping"),
    ("legacy: public.client", "legacy: public.item", 13, "legacy table public.item is mapped twice"),
    ("    service: store.items", "    service: store.items\n    service: store.x", 6, "'service' stands twice"),
    ("tables:\n", "tables: []\nx:\n", 4, "unknown key 'x'"),
    ("columns: [id]", "columns: []", 17, "columns must not be empty"),
    ("columns: [id]", "columns: id", 17, "columns must be a list"),
    ("columns: [id]", "columns: [id", 18, "is not YAML"),
]


@pytest.mark.parametrize(("old", "new", "line", "says"), BAD, ids=[case[3] for case in BAD])
def test_what_is_wrong_is_said_with_its_line(write, old: str, new: str, line: int, says: str) -> None:
    assert old in GOOD
    with pytest.raises(MappingError) as raised:
        load(write(GOOD.replace(old, new, 1)))
    assert says in str(raised.value)
    assert f"shop.yaml:{line}: " in str(raised.value)


@pytest.mark.parametrize("text", ["", "[]", "domain: shop\ntables: []\n", "- a", "\0"])
def test_a_file_that_is_no_mapping(write, text: str) -> None:
    with pytest.raises(MappingError, match=r"shop\.yaml"):
        load(write(text))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MappingError, match=r"none\.yaml: cannot be read"):
        load(tmp_path / "none.yaml")


class TestLint:
    LEGACY = {
        "public.item": dict.fromkeys(("id", "shop", "ts", "flag", "status"), True),
        "public.client": {"id": True, "email": True},
    }
    SERVICE = {
        "store.items": dict.fromkeys(("id", "shop_id", "at", "state"), True),
        "store.client_refs": {"id": True},
    }

    def said(self, mapping: Mapping, legacy=None, service=None) -> list[str]:
        return [str(finding) for finding in lint(mapping, legacy or self.LEGACY, service or self.SERVICE)]

    def test_what_reference_data_leaves_out_is_no_loss(self, good: Mapping) -> None:
        assert self.said(good) == []

    def test_a_column_that_a_rollback_would_lose(self, good: Mapping) -> None:
        service = self.SERVICE | {"store.items": {**self.SERVICE["store.items"], "colour": False}}
        assert self.said(good, service=service) == [
            "lost: service store.items.colour: is not carried: a rollback loses it"
        ]

    def test_a_column_that_the_service_never_sees(self, good: Mapping) -> None:
        legacy = self.LEGACY | {"public.item": {**self.LEGACY["public.item"], "memo": False}}
        assert self.said(good, legacy) == [
            "lost: legacy public.item.memo: is not carried: rows made at the service leave it empty"
        ]

    def test_a_column_that_would_stop_the_stream(self, good: Mapping) -> None:
        service = self.SERVICE | {"store.items": {**self.SERVICE["store.items"], "colour": True}}
        assert self.said(good, service=service) == [
            "error: service store.items.colour: must have a value, but forward sync gives it none"
        ]

    def test_what_does_not_exist(self, good: Mapping) -> None:
        legacy = {"public.item": {"id": True, "shop": True, "ts": True, "flag": True}}
        assert self.said(good, legacy) == [
            "error: legacy public.item.status: the mapping names a column that does not exist",
            "error: legacy public.client: the table does not exist",
        ]
