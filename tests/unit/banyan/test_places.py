"""No part of `make test` leaves out what another part does not run."""

import re
from pathlib import Path

import pytest

from tests.fixtures import places

ROOT = Path(__file__).resolve().parents[3]


class Item:
    def __init__(self, nodeid: str, *marks: str) -> None:
        self.nodeid = nodeid
        self.marks = marks

    def get_closest_marker(self, name: str) -> str | None:
        return name if name in self.marks else None


@pytest.mark.parametrize("mark", ["e2e", "alone"])
def test_a_test_of_a_whole_stack_that_no_part_would_run_is_refused(mark):
    with pytest.raises(pytest.UsageError, match=f"test_x is marked {mark}, so `make test` would never run it"):
        places.pytest_collection_modifyitems([Item("tests/integration/test_a.py::test_x", mark)])


def test_elsewhere_and_unmarked_or_there_and_marked_it_runs():
    places.pytest_collection_modifyitems(
        [Item("tests/unit/test_a.py::test_x"), Item("tests/e2e/test_a.py::test_x", "e2e")]
    )


def test_the_makefile_reads_the_folders_that_are_watched():
    (whole,) = re.findall(r"^WHOLE := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert [f"{folder}/" for folder in whole.split()] == list(places.WHOLE)
