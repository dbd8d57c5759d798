"""A comparison of two sides at rest finds every row that differs, and names its columns."""

from __future__ import annotations

import psycopg
import pytest

from cdc.errors import Transient
from cdc.mapping import Mapping, load
from cdc.verify import Report, VerifyError, verify


def compare(legacy: psycopg.Connection, service: psycopg.Connection, mapping: Mapping, **options) -> Report:
    return verify(dsn(legacy), dsn(service), mapping, **options)


def dsn(connection: psycopg.Connection) -> str:
    return f"{connection.info.dsn} password={connection.info.password}"


def said(report: Report) -> set[str]:
    return {str(sample) for sample in report.samples}


class TestAtRest:
    def test_equal_sides_are_clean(self, legacy, service, mapping) -> None:
        seen: list[tuple[str, int, int]] = []
        report = compare(legacy, service, mapping, progress=lambda *figures: seen.append(figures))
        assert (report.clean, report.drift, report.rechecked) == (True, 0, 0)
        assert [(table.legacy_rows, table.service_rows) for table in report.tables] == [
            (50, 50),
            (12000, 12000),
            (3000, 3000),
        ]
        assert seen[-1] == ("public.line", 3000, 3000)
        assert report.rows_per_s > 0

    def test_a_missing_row_is_found(self, legacy, service, mapping) -> None:
        service.execute("DELETE FROM items WHERE id IN (1, 6000, 12000)")
        report = compare(legacy, service, mapping)
        assert said(report) == {f"public.item id={n}: missing at the service" for n in (1, 6000, 12000)}
        assert (report.clean, report.tables[1].missing) == (False, 3)

    def test_an_extra_row_is_found(self, legacy, service, mapping) -> None:
        service.execute("INSERT INTO items (id) VALUES (0), (500000)")
        service.execute("INSERT INTO client_refs VALUES (77)")
        report = compare(legacy, service, mapping)
        assert said(report) == {
            "public.item id=0: only at the service",
            "public.item id=500000: only at the service",
            "public.client id=77: only at the service",
        }

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ("UPDATE items SET title = 'other' WHERE id = 5", "public.item id=5: differs in name"),
            ("UPDATE items SET title = NULL WHERE id = 5", "public.item id=5: differs in name"),
            (
                "UPDATE items SET quantity = -1, paid = 0.01 WHERE id = 5",
                "public.item id=5: differs in qty, paid_cents",
            ),
            ("UPDATE items SET at = at + interval '1 hour' WHERE id = 5", "public.item id=5: differs in ts"),
            (
                "UPDATE lines SET ok = NOT ok WHERE item_id = 1 AND code = 'Bé'",
                "public.line item=1, code=Bé: differs in ok",
            ),
            ("UPDATE client_refs SET name = '' WHERE id = 5", "public.client id=5: differs in name"),
        ],
    )
    def test_a_changed_row_is_found_with_its_columns(self, legacy, service, mapping, change, expected) -> None:
        service.execute(change)
        assert said(compare(legacy, service, mapping)) == {expected}

    def test_a_value_that_has_no_way_back_is_drift_and_says_why(self, legacy, service, mapping) -> None:
        service.execute("ALTER TABLE items ALTER paid TYPE numeric(12,4)")
        service.execute("UPDATE items SET paid = 0.001 WHERE id = 9")
        report = compare(legacy, service, mapping)
        assert [str(s) for s in report.samples] == [
            "public.item id=9: public.items.paid: 0.0010 is not a whole number of cents"
        ]

    def test_columns_that_the_mapping_does_not_carry_are_not_compared(self, legacy, service, mapping) -> None:
        legacy.execute("UPDATE client SET phone = '07'")
        assert compare(legacy, service, mapping).clean

    def test_an_empty_service_ends_early_instead_of_counting_everything(self, legacy, service, mapping) -> None:
        service.execute("TRUNCATE items")
        report = compare(legacy, service, mapping)
        table = report.tables[1]
        assert (table.complete, report.clean) == (False, False)
        assert table.missing == 10_000
        assert report.tables[2].clean, "the next table is compared nevertheless"

    def test_two_empty_sides_are_clean(self, legacy, service, mapping) -> None:
        legacy.execute("TRUNCATE item, client, line")
        service.execute("TRUNCATE items, client_refs, lines")
        assert compare(legacy, service, mapping).clean


class TestBadInput:
    def test_a_missing_table_is_named(self, legacy, service, mapping) -> None:
        service.execute("DROP TABLE lines")
        with pytest.raises(Exception, match=r"public\.lines: relation .* does not exist"):
            compare(legacy, service, mapping)

    def test_a_role_that_may_not_read_is_told_what_to_do(self, legacy, service, mapping) -> None:
        service.execute("DROP ROLE IF EXISTS stranger")
        service.execute("CREATE ROLE stranger LOGIN PASSWORD 'x'")
        info = service.info
        stranger = f"postgresql://stranger:x@{info.host}:{info.port}/{info.dbname}"
        with pytest.raises(VerifyError, match="banyan prepare"):
            verify(dsn(legacy), stranger, mapping)

    def test_a_side_that_is_down_is_said_in_one_line(self, legacy, mapping) -> None:
        with pytest.raises(Transient, match="cannot be reached") as raised:
            verify(dsn(legacy), "postgresql://nobody@127.0.0.1:1/none", mapping)
        assert "\n" not in str(raised.value)


def test_a_key_with_a_converter_is_refused_because_the_sides_would_sort_differently(tmp_path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        "domain: d\ntables:\n  - {legacy: public.a, service: public.b, key: {legacy: k, service: k},\n"
        "     columns: [{legacy: k, service: k, convert: yes_no}]}\n"
    )
    with pytest.raises(Exception, match=r"bad\.yaml:3: a row keeps its key"):
        load(path)
