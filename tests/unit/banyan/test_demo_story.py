"""What the demonstration says can be added up, and claims no more than was measured."""

import re

from banyan.stack import story


def test_reads_and_writes_are_counted_apart():
    assert story.shares((48, 100), (0, 40)) == "reads 48% at the service · writes 0% at the service"
    assert story.shares((0, 0), (0, 0)).count("0%") == 2


def test_the_audits_lines_add_up():
    said = story.audit_lines(
        {"tariff_changes": 30, "quotes": 1200, "price_batches": 500}, {"quotes": 1200, "price_hours": 900}, 0, 0
    )
    for line in said[:2]:
        counts = [
            int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*(?= \w| accepted)", line.split("(")[0])
        ]
        assert sum(counts[:-1]) == counts[-1]
    assert said[0] == "30 tariff changes + 1,200 quotes + 500 price batches = 1,730 accepted writes (requests)"
    assert said[2].endswith("0 lost, 0 doubled")
