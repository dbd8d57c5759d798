"""Constants, one-way columns, columns joined and split, lookups, and tables that share a row."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc.mapping import ConversionError, Mapping, MappingError, TableMapping, check, declared, lint, load
from cdc.mapping.converters import codes, scaled
from cdc.mapping.factories import CONVERTERS
from cdc.mapping.reference import Reference
from cdc.mapping.several import date_and_time, fields, join, split

quick = settings(max_examples=40, deadline=None)

HEAD = "domain: shop\ntables:\n  - legacy: public.item\n    service: public.product\n"
KEY = "    key: {legacy: id, service: id}\n    columns:\n      - id\n"
Write = Callable[[str], Mapping]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Mapping:
        path = tmp_path / "shop.yaml"
        path.write_text(text)
        return load(path)

    return write


@pytest.fixture
def table(write: Write) -> Callable[[str], TableMapping]:
    return lambda columns: write(HEAD + KEY + columns).tables[0]


def refused(write: Write, text: str) -> str:
    with pytest.raises(MappingError) as raised:
        write(text)
    return str(raised.value)


class TestConstants:
    def test_of_either_side(self, table) -> None:
        found = table("      - {service: origin, value: monolith}\n      - {legacy: region, value: 7}\n")
        assert found.translate({"id": 1, "region": 9}, "forward") == {"id": 1, "origin": "monolith"}
        assert found.translate({"id": 1, "origin": "x"}, "reverse") == {"id": 1, "region": 7}
        assert found.forward.translate_columns({"id": [1, 2]}) == {"id": [1, 2], "origin": ["monolith"] * 2}
        assert found.columns("forward") == ("id", "origin")

    def test_another_value_is_what_a_rollback_would_lose(self, table) -> None:
        found = table("      - {service: origin, value: monolith}\n      - {legacy: region, value: 7}\n")
        (violation,) = check(found, [{"id": 1, "region": 9}, {"id": 2, "region": 7}])
        assert (violation.key, violation.column, violation.reason) == ({"id": 1}, "region", "9 comes back as 7")
        (violation,) = check(found, [{"id": 1, "origin": "app"}], "service")
        assert (violation.table, violation.column) == ("public.product", "origin")

    @pytest.mark.parametrize(
        ("written", "value"),
        [("5", 5), ("'5'", "5"), ("5.50", Decimal("5.50")), ("true", True), ("null", None), ("N", "N")],
    )
    def test_a_value_is_what_yaml_says_it_is(self, table, written: str, value: Any) -> None:
        assert table(f"      - {{service: x, value: {written}}}\n").translate({"id": 1}, "forward") == {
            "id": 1,
            "x": value,
        }


class TestOneWay:
    def test_a_computed_column_is_written_one_way_and_not_compared(self, table) -> None:
        found = table(
            "      - first\n      - last\n"
            "      - {legacy: [first, last], service: full, convert: join, direction: forward}\n"
        )
        row = {"id": 1, "first": "Ada", "last": "King"}
        there = {**row, "full": "Ada King"}
        assert found.translate(row, "forward") == there
        assert found.translate({**there, "full": "whatever"}, "reverse") == row
        assert list(check(found, [row])) == []

    def test_each_way_may_have_a_rule_of_its_own(self, table) -> None:
        found = table(
            "      - {legacy: total, service: net, convert: cents, direction: forward}\n"
            "      - {legacy: total, service: gross, convert: cents, direction: reverse}\n"
        )
        assert found.translate({"id": 1, "total": 250}, "forward") == {"id": 1, "net": Decimal("2.50")}
        assert found.translate({"id": 1, "net": Decimal(1), "gross": Decimal(3)}, "reverse") == {"id": 1, "total": 300}
        assert found.compared.columns == ("id",)

    def test_what_goes_forward_only_is_lost_by_a_rollback(self, write) -> None:
        mapping = write(HEAD + KEY + "      - {legacy: memo, service: note, direction: forward}\n")
        assert [str(finding) for finding in declared(mapping)] == [
            "lost: legacy public.item.memo: goes forward only: what the service makes of it does not come back"
        ]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


class TestSeveralColumns:
    @quick
    @given(st.lists(texts, min_size=2, max_size=4), st.sampled_from([" ", ", ", "aa"]))
    def test_what_is_joined_comes_apart_or_is_refused(self, parts: list[str], separator: str) -> None:
        converter = join(columns=len(parts), separator=separator)
        try:
            text = converter.forward(*parts)
        except ConversionError:
            assert separator in separator.join(parts[:-1]).replace(separator, "", len(parts) - 2) + separator
        else:
            assert converter.reverse(text) == tuple(parts)

    def test_only_the_last_part_may_hold_the_separator(self) -> None:
        assert join(columns=2).forward("Jan", "van den Berg") == "Jan van den Berg"
        assert split(columns=2).forward("Jan van den Berg") == ("Jan", "van den Berg")
        with pytest.raises(ConversionError, match="come apart"):
            join(columns=2).forward("Jan Piet", "Berg")
        with pytest.raises(ConversionError, match="2 parts"):
            split(columns=2).forward("Jan")
        with pytest.raises(ConversionError, match="some are not"):
            join(columns=2).forward("Jan", None)

    @quick
    @given(st.dates(), st.times())
    def test_date_and_time(self, day: date, moment: time) -> None:
        converter = date_and_time()
        assert converter.reverse(converter.forward(day, moment)) == (day, moment)
        assert converter.forward(date(2024, 1, 2), time(3, 4)) == datetime(2024, 1, 2, 3, 4)

    @quick
    @given(st.tuples(st.none() | texts, st.integers() | st.booleans()))
    def test_an_object_of_columns(self, values: tuple[Any, ...]) -> None:
        converter = fields(columns=2, names=["street", "number"])
        assert converter.reverse(converter.forward(*values)) == values

    @pytest.mark.parametrize("found", [{}, {"a": 1}, {"a": 1, "b": 1.5}, {"a": None, "b": None}, [], "x"])
    def test_an_object_of_another_shape_is_refused(self, found: Any) -> None:
        with pytest.raises(ConversionError):
            fields(columns=2, names=["a", "b"]).reverse(found)
        with pytest.raises(ConversionError, match="Decimal"):
            fields(columns=2, names=["a", "b"]).forward(Decimal(1), 2)

    @quick
    @given(st.integers(-(10**12), 10**12), st.integers(1, 9))
    def test_a_scaled_number(self, amount: int, digits: int) -> None:
        converter = scaled(digits=str(digits))
        assert converter.reverse(converter.forward(amount)) == amount

    def test_codes(self) -> None:
        converter = codes(values={"1": "new", "2": "used"})
        assert (converter.forward(2), converter.reverse("new")) == ("used", 1)
        with pytest.raises(ConversionError, match="3 is not one of 1, 2"):
            converter.forward(3)
        for bad in ({"x": "new"}, {"1": "new", "01": "old"}, {"1": "a", "2": "a"}):
            with pytest.raises(ValueError, match=r"whole numbers|same number|same word"):
                codes(values=bad)

    def test_columns_that_only_make_sense_together_and_came_in_part(self, table) -> None:
        found = table("      - {legacy: [day, hour], service: at, convert: date_and_time}\n")
        assert found.forward.torn({"id": 1, "day": date(2024, 1, 1)}) == ("day", "hour")
        assert found.forward.torn({"id": 1}) == ()
        assert found.forward.torn({"id": 1, "day": None, "hour": None}) == ()


class TestLookup:
    def reference(self, pairs: dict[Any, Any], clock: Callable[[], float]) -> Reference:
        found = Reference("legacy", "public.country", "id", "iso", clock=clock)
        found.there, found.back = found._one_to_one(list(pairs.items()))
        found._read_at = clock()
        return found

    def test_both_ways(self) -> None:
        found = self.reference({1: "NL", 2: "BE "}, lambda: 0.0)
        assert (found.forward(1), found.reverse("BE  "), found.reverse("NL ")) == ("NL", 2, 1)
        with pytest.raises(ConversionError, match=r"7 is not in reference table public\.country of the legacy side"):
            found.forward(7)

    def test_it_must_be_one_to_one(self) -> None:
        with pytest.raises(MappingError, match="not one to one"):
            self.reference({1: "NL", 2: "NL"}, lambda: 0.0)

    def test_a_missing_value_is_looked_for_again_but_not_at_once(self) -> None:
        now = 0.0
        found = self.reference({1: "NL"}, lambda: now)
        with pytest.raises(ConversionError):
            found.forward(2)
        now = 1.5
        with pytest.raises(MappingError, match="was not read"):  # it would read now, and has no connection
            found.forward(2)


SPLIT = """\
domain: shop
tables:
  - legacy: public.client
    service: public.clients
    key: {legacy: id, service: id}
    columns: [id, name]
  - legacy: public.client
    service: public.addresses
    part: service
    key: {legacy: id, service: client_id}
    columns: [{legacy: id, service: client_id}, street, {legacy: city, service: city, absent: ""}]
"""


class TestParts:
    def test_one_table_to_two(self, write) -> None:
        owner, part = write(SPLIT).tables
        assert (owner.makes("forward"), owner.makes("reverse"), owner.wide) == (True, True, None)
        assert (part.makes("forward"), part.makes("reverse"), part.wide) == (True, False, "legacy")
        assert part.part is not None
        assert part.part.absent == {"street": None, "city": ""}
        assert not part.part.there({"street": None, "city": ""})
        assert part.part.there({"street": None, "city": "Gent"})
        assert part.part.there({"city": ""}), "unchanged TOAST is not NULL"

    def test_an_empty_part_does_not_come_back(self, write) -> None:
        _, part = write(SPLIT).tables
        assert list(check(part, [{"id": 1, "street": None, "city": ""}])) == []
        (violation,) = check(part, [{"client_id": 1, "street": None, "city": ""}], "service")
        assert "does not come back" in violation.reason
        always = write(SPLIT.replace("    part: service", "    part: service\n    rows: always")).tables[1]
        assert list(check(always, [{"client_id": 1, "street": None, "city": ""}], "service")) == []

    def test_its_limits_are_told(self, write) -> None:
        assert [f.severity for f in declared(write(SPLIT))] == ["limit"]
        assert declared(write(SPLIT.replace("    part: service", "    part: service\n    rows: always"))) == []

    def test_the_lint_knows_who_gives_a_column_its_value(self, write) -> None:
        legacy = {"public.client": {"id": True, "name": True, "street": True, "city": True}}
        service = {
            "public.clients": {"id": True, "name": True},
            "public.addresses": {"client_id": True, "street": False, "city": False},
        }
        assert [str(finding) for finding in lint(write(SPLIT), legacy, service)] == [
            "error: legacy public.client.street: must have a value, but reverse sync gives it none"
            " when its part has no row yet: give it an absent value"
        ]

    @pytest.mark.parametrize(
        ("old", "new", "line", "says"),
        [
            ("    part: service\n", "", 10, "absent says what a wide row holds"),
            ("part: service", "part: legacy", 7, "legacy table public.client is mapped twice"),
            (
                "legacy: public.client\n    service: public.clients",
                "legacy: public.other\n    service: public.clients",
                7,
                "has no owner",
            ),
            ("part: service", "part: both", 9, "part is legacy or service, not 'both'"),
            ("part: service", "part: service\n    rows: never", 10, "rows is some or always"),
            ("columns: [id, name]", "columns: [id, name, street]", 7, "column street of public.client is owned by"),
            ("columns: [id, name]", "columns: [id, name]\n    rows: always", 7, "it needs part"),
            ("columns: [id, name]", 'columns: [id, {legacy: name, service: name, absent: ""}]', 6, "it needs part"),
            (
                "columns: [id, name]",
                "columns: [id, name]\n    bucket_key: {legacy: id, service: id}",
                8,
                "in the bucket of its wide row",
            ),
            ("columns: [id, name]", "columns: [id, name]\n    direction: forward", 8, "goes the way of its wide row"),
            ('street, {legacy: city, service: city, absent: ""}]', "]", 11, "at least one column besides its key"),
        ],
    )
    def test_what_is_wrong_is_said_with_its_line(self, write, old: str, new: str, line: int, says: str) -> None:
        assert old in SPLIT
        said = refused(write, SPLIT.replace(old, new, 1))
        assert says in said
        assert f"shop.yaml:{line}: " in said


BAD = [
    ("      - {service: x}\n", "lacks its legacy name"),
    ("      - {legacy: y, service: x, value: 1}\n", "a constant is a column of one side"),
    ("      - {service: x, value: [1]}\n", "value must be a text, a number"),
    ("      - {service: x, value: .inf}\n", "not a plain number"),
    ("      - {legacy: x, service: x, direction: up}\n", "a column's direction is both or forward or reverse"),
    ("      - {service: x, value: 1}\n      - x\n", "column x of public.product is mapped twice"),
    ("      - {legacy: [a, b], service: x, convert: join, columns: 3}\n", "takes separator, not 'columns'"),
    ("      - {legacy: [a, b], service: x, convert: fields, names: [a]}\n", "names must be 2 different names"),
    ("      - {legacy: a, service: x, convert: join}\n", "it takes several columns"),
    ("      - {legacy: a, service: x, convert: scaled, digits: x}\n", "digits is a whole number"),
    (
        "      - {legacy: a, service: x, convert: lookup, table: t, side: legacy, legacy_value: a, service_value: b}\n",
        "is not schema.table",
    ),
]


@pytest.mark.parametrize(("columns", "says"), BAD, ids=[case[1] for case in BAD])
def test_a_column_that_is_wrong(write, columns: str, says: str) -> None:
    assert says in refused(write, HEAD + KEY + columns)


def test_a_table_that_goes_forward_only_writes_nothing_in_reverse(write) -> None:
    text = HEAD + "    direction: forward\n" + KEY + "      - {legacy: x, service: x, direction: reverse}\n"
    assert "goes forward only" in refused(write, text)


class TestDocument:
    """docs/mapping.md shows what the loader takes."""

    TEXT = (Path(__file__).parents[3] / "docs" / "mapping.md").read_text()

    def test_its_examples_are_mappings(self, write) -> None:
        whole, parts = re.findall(r"^```yaml\n(.*?)^```", self.TEXT, re.MULTILINE | re.DOTALL)[:2]
        assert len(write(whole).tables) == 1
        found = write("domain: shop\ntables:\n" + parts)
        assert [table.wide for table in found.tables] == [None, "legacy", None, "service"]

    def test_each_way_to_write_a_column_is_one(self, write) -> None:
        for written in re.findall(r"\| `- (.*?)` (?:\(.*\) )?\|$", self.TEXT, re.MULTILINE):
            part = "    part: service\n" if "absent" in written else ""
            head = HEAD.replace("public.item\n", "public.item\n" + part, 1)
            first = HEAD.replace("public.product", "public.owner") + KEY if part else "domain: shop\ntables:\n"
            body = head.partition("tables:\n")[2] + KEY + ("" if written == "id" else f"      - {written}\n")
            assert write(first + body).tables

    def test_it_names_every_converter(self) -> None:
        assert {name for name in CONVERTERS if f"| `{name}` |" not in self.TEXT} == set()
