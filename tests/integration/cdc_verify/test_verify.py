"""A comparison finds every row that differs, and no row that is only late."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from dataclasses import dataclass, field

import psycopg
import pytest

from cdc.errors import Transient
from cdc.mapping import Mapping, load
from cdc.verify import Report, VerifyError, verify
from cdc.verify.run import Patience

QUICK = Patience(wait_s=0.5, rounds=3)


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


@dataclass
class LaggingApplier:
    """Writes to the monolith and, `lag_s` later, the same to the service with its watermark, as a stream would."""

    legacy_dsn: str
    service_dsn: str
    mapping: Mapping
    lag_s: float
    stop: threading.Event = field(default_factory=threading.Event)
    writes: int = 0
    failure: BaseException | None = None

    def __enter__(self) -> LaggingApplier:
        self.thread = threading.Thread(target=self._guarded)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join(30)
        if self.failure is not None:
            raise self.failure

    def _guarded(self) -> None:
        try:
            self._run()
        except BaseException as failure:
            self.failure = failure

    def _run(self) -> None:
        dice = random.Random(7)
        late: deque[tuple[float, str, str, tuple]] = deque()
        with (
            psycopg.connect(self.legacy_dsn, autocommit=True) as legacy,
            psycopg.connect(self.service_dsn, autocommit=True) as service,
        ):
            while not self.stop.is_set() or late:
                if not self.stop.is_set():
                    late.append((time.monotonic() + self.lag_s, *self._write(legacy, dice)))
                    self.writes += 1
                while late and (late[0][0] <= time.monotonic() or self.stop.is_set()):
                    _, lsn, query, values = late.popleft()
                    with service.transaction():
                        service.execute(query, values)
                        service.execute("UPDATE banyan.stream SET source_lsn = %s", (lsn,))

    def _write(self, legacy: psycopg.Connection, dice: random.Random) -> tuple[str, str, tuple]:
        """One write there; the position behind it and the same write for here."""
        key = dice.choice([dice.randint(1, 20), dice.randint(1, 12000), dice.randint(20_000, 20_100)])
        kind = dice.random()
        if kind < 0.6:
            quantity = dice.randint(0, 10**6)
            query, values = "UPDATE {} SET {} = %s WHERE id = %s", (quantity, key)
        elif kind < 0.8:
            query, values = "INSERT INTO {} (id, {}) VALUES (%s, 1) ON CONFLICT DO NOTHING", (key,)
        else:
            query, values = "DELETE FROM {} WHERE id = %s", (key,)
        legacy.execute(query.format("item", "qty"), values)
        (lsn,) = legacy.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
        return lsn, query.format("items", "quantity"), values


class TestUnderTraffic:
    def test_late_rows_are_not_drift(self, legacy, service, mapping) -> None:
        service.execute("INSERT INTO banyan.stream VALUES ('shop.forward', '0/0')")
        rechecked = 0
        with LaggingApplier(dsn(legacy), dsn(service), mapping, lag_s=0.15) as applier:
            for _ in range(5):
                report = compare(legacy, service, mapping)
                assert report.drift == 0, said(report)
                rechecked += report.rechecked
            assert applier.writes > 100
        assert rechecked > 0, "the lag was never seen, so the test proves nothing"

    def test_drift_is_found_among_late_rows(self, legacy, service, mapping) -> None:
        service.execute("INSERT INTO banyan.stream VALUES ('shop.forward', '0/0')")
        legacy.execute("INSERT INTO item (id) VALUES (30000)")
        service.execute("INSERT INTO items (id) VALUES (30001)")
        service.execute("UPDATE client_refs SET name = 'x' WHERE id = 9")
        with LaggingApplier(dsn(legacy), dsn(service), mapping, lag_s=0.15):
            report = compare(legacy, service, mapping)
        assert said(report) == {
            "public.item id=30000: missing at the service",
            "public.item id=30001: only at the service",
            "public.client id=9: differs in name",
        }

    def test_a_stream_that_stands_still_settles_nothing_and_is_named(self, legacy, service, mapping) -> None:
        service.execute("INSERT INTO banyan.stream VALUES ('shop.forward', '0/1')")
        legacy.execute("UPDATE item SET qty = -1 WHERE id = 3")
        report = compare(legacy, service, mapping, patience=QUICK)
        assert (report.clean, report.drift, report.unsettled) == (False, 0, 1)
        assert report.stalled == ("shop.forward",)

    def test_with_the_service_as_owner_it_waits_for_the_way_back(self, legacy, service, mapping) -> None:
        for side in (legacy, service):
            side.execute("CREATE SCHEMA IF NOT EXISTS banyan")
            side.execute("CREATE TABLE banyan.ownership (domain text, wave int, owner text, epoch bigint)")
            side.execute("INSERT INTO banyan.ownership VALUES ('shop', 0, 'service', 2)")
        legacy.execute("CREATE TABLE banyan.stream (stream text PRIMARY KEY, source_lsn pg_lsn)")
        legacy.execute("INSERT INTO banyan.stream VALUES ('shop.reverse', '0/1')")
        service.execute("INSERT INTO banyan.stream VALUES ('shop.forward', '0/1')")  # idle: nothing writes there
        service.execute("UPDATE items SET quantity = -1 WHERE id = 3")
        assert compare(legacy, service, mapping, patience=QUICK).stalled == ("shop.reverse",)
        legacy.execute("UPDATE banyan.stream SET source_lsn = 'FFFFFFFF/0'")
        report = compare(legacy, service, mapping, patience=QUICK)
        assert said(report) == {"public.item id=3: differs in qty"}


def test_a_key_with_a_converter_is_refused_because_the_sides_would_sort_differently(tmp_path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        "domain: d\ntables:\n  - {legacy: public.a, service: public.b, key: {legacy: k, service: k},\n"
        "     columns: [{legacy: k, service: k, convert: yes_no}]}\n"
    )
    with pytest.raises(Exception, match=r"bad\.yaml:3: a row keeps its key"):
        load(path)
