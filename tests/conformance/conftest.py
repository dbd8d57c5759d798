"""The gateway runs on uvloop, so its tests do."""

from __future__ import annotations

from typing import Any

import pytest
import uvloop


@pytest.fixture(params=[uvloop.EventLoopPolicy()], ids=["uvloop"])
def event_loop_policy(request: pytest.FixtureRequest) -> Any:
    return request.param
