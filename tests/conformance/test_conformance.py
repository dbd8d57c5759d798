"""Every case, byte by byte, against the gateway."""

from __future__ import annotations

import pytest

from tests.conformance.case import Case
from tests.conformance.cases import CASES
from tests.conformance.gateway import listening
from tests.conformance.origin import Origin
from tests.conformance.play import judge, play


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
async def test_the_gateway_does_as_the_case_says(case: Case) -> None:
    origin = await Origin().start()
    try:
        async with listening(origin, **case.settings) as port:
            outcome = await play(case, port, origin)
    finally:
        await origin.stop()
    assert not judge(case, outcome), str(outcome)


def test_every_case_has_a_name_of_its_own_and_there_are_enough() -> None:
    assert len({case.id for case in CASES}) == len(CASES) >= 200
