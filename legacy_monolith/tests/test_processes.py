"""The monolith as it is served: several gunicorn workers that count together, and one minute job between them."""

from __future__ import annotations

import re

import httpx


def test_metrics_are_summed_over_the_workers(anyone: httpx.Client) -> None:
    def served() -> float:
        text = anyone.get("/metrics").text
        found = re.findall(r'legacy_http_request_total\{method="GET",status="200"\} (\S+)', text)
        return float(found[0]) if found else 0.0

    before = served()
    for _ in range(20):
        with httpx.Client(base_url=anyone.base_url) as client:  # a new connection may meet another worker
            client.get("/api/tariffs")
    assert served() - before >= 20
