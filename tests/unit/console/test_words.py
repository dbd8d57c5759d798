"""The page says what is happening in words that follow from the readings alone."""

import pytest

from console import words
from console.readings import Domain, Wave


def wave(phase="legacy", percent=0.0, owner=None, hold=False, start=0, end=1024, number=0) -> Wave:
    owner = owner or ("service" if phase in ("service", "retired") else "legacy")
    return Wave(number, start, end, phase, percent, owner, 0, hold)


def domain(*waves: Wave, **more) -> Domain:
    return Domain(waves=waves, **more)


@pytest.mark.parametrize(
    ("here", "sentence"),
    [
        (domain(wave()), "pricing: reads and writes at the monolith"),
        (
            domain(wave("shadow"), shadow_percent=100),
            "pricing: reads and writes at the monolith; the service answers copies of 100 % of them, to compare",
        ),
        (domain(wave("canary", 10)), "pricing: reads 10 % at the service, writes at the monolith"),
        (domain(wave("canary", 0.5)), "pricing: reads 0.5 % at the service, writes at the monolith"),
        (domain(wave("canary", 50, owner="service")), "pricing: reads 50 % at the service, writes at the service"),
        (
            domain(wave("service")),
            "pricing: reads and writes at the service; the monolith is kept in step, so there is a way back",
        ),
        (domain(wave("retired")), "pricing: reads and writes at the service, for good"),
        (
            domain(wave("canary", 50, owner="moving")),
            "pricing: the writes are changing hands right now; they wait a moment, none is refused",
        ),
        (
            domain(wave("canary", 50, hold=True)),
            "pricing: the writes are changing hands right now; they wait a moment, none is refused",
        ),
        (
            domain(wave("service", end=256), wave("canary", 50, start=256, end=512), wave(start=512)),
            "pricing: in 3 waves; the service has 38 % of the reads and 25 % of the writes",
        ),
        (domain(), "pricing: no waves in the route table"),
    ],
)
def test_a_domains_standing_in_one_sentence(here, sentence):
    assert words.standing("pricing", here) == sentence


@pytest.mark.parametrize(
    ("here", "part"),
    [
        (domain(wave("service"), breakers={"service": "open"}), "reads fall back to the monolith"),
        (domain(wave(), breakers={"legacy": "open", "service": "open"}), "the monolith does not answer as it should"),
        (domain(wave(), health={"legacy": False}), "the monolith fails its health check"),
        (domain(wave("canary", 10), health={"service": False}), "the service fails its health check"),
    ],
)
def test_trouble_names_the_side(here, part):
    assert part in (words.trouble("pricing", here) or "")


def test_a_service_that_nobody_uses_yet_may_be_unwell_without_alarm():
    assert words.trouble("pricing", domain(wave(), health={"legacy": True, "service": False})) is None
    assert words.trouble("pricing", domain(wave("shadow"), health={"service": False})) is None


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0, "0 %"), (1, "100 %"), (0.1, "10 %"), (0.0005, "< 0.1 %"), (0.005, "0.5 %"), (0.125, "12 %"), (0.01, "1 %")],
)
def test_percentages_never_show_something_as_nothing(share, shown):
    assert words.percent(share) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (0.25, "0.2 ms"), (12.4, "12 ms"), (1500, "1.5 s"), (75_000, "1 min"), (7_200_000, "2 h")],
)
def test_durations_have_two_digits_that_matter(value, shown):
    assert words.milliseconds(value) == shown


def test_figures_of_the_ledger_are_shortened():
    measured = {"rows": 88_038, "drift": 0, "pause_ms": 41.7, "clean": True, "tables": {"price": 1}, "note": "x" * 99}
    assert words.figures(measured, limit=4) == "rows 88,038 · drift 0 · pause 42 ms · clean yes"
    assert words.figures({"ms": 2.83}) == "2.8 ms"
