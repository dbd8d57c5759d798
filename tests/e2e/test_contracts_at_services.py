"""The same characterization tests with devices, and with notifications, at their services.

A file of its own, so that it may run beside the other on a stack of its own.
"""

from __future__ import annotations

import pytest

from tests.e2e.conftest import Stack
from tests.e2e.journey import at_service, characterize


@pytest.mark.e2e
@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("domain", ["devices", "notifications"])
def test_through_the_gateway_with_a_domain_at_its_service(stack: Stack, domain: str):
    with at_service(stack, domain):
        characterize(stack)
