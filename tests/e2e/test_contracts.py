"""The characterization tests pass unchanged through the gateway, at the monolith and at the service of pricing."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import Stack
from tests.e2e.journey import at_service, characterize


@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_through_the_gateway_with_everything_at_the_monolith(stack: Stack):
    characterize(stack)


@pytest.mark.e2e
@pytest.mark.timeout(900)
def test_through_the_gateway_with_pricing_at_its_service(stack: Stack):
    with at_service(stack, "pricing"):
        characterize(stack)
