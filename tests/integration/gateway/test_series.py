"""What clients make up (paths, methods, hosts, headers) makes no series: their number depends on the table alone."""

from __future__ import annotations

import asyncio
import random
import string

from prometheus_client.parser import text_string_to_metric_families

from gateway.control.figures import Figures
from gateway.control.status import metrics
from tests.integration.gateway.stage import Stage
from tests.integration.gateway.upstream import answering

REQUESTS = 10_000
BATCH = 250
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD")


def exposed(stage: Stage) -> str:
    figures = Figures()
    figures.take(0.0, [{"pid": 1, **stage.gateway.snapshot()}])
    return metrics(stage.gateway.router.table, figures, 1, 1).decode()


def series(text: str) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    families = text_string_to_metric_families(text)
    return {(sample.name, tuple(sorted(sample.labels.items()))) for family in families for sample in family.samples}


def request(random_: random.Random, *, last: bool) -> bytes:
    def word() -> str:
        return "".join(random_.choices(string.ascii_letters, k=12))

    method = random_.choice(METHODS)
    path = random_.choice((f"/{word()}", f"/items/{word()}", f"/{word()}/{word()}?{word()}={word()}"))
    head = f"{method} {path} HTTP/1.1\r\nHost: {word()}.example\r\nX-Client: {word()}\r\nUser-Agent: {word()}\r\n"
    close = "Connection: close\r\n" if last else ""
    return f"{head}{close}Content-Length: 0\r\n\r\n".encode()


async def test_ten_thousand_made_up_requests_make_no_more_series_than_the_table_has_operations(stage: Stage) -> None:
    stage.legacy.handler = answering(body=b"")
    random_ = random.Random(7)
    for _ in range(REQUESTS // BATCH):
        requests = [request(random_, last=number == BATCH - 1) for number in range(BATCH)]
        await stage.raw(b"".join(requests), within=60)
    for number in range(50):
        await stage.raw(f"MADEUP{number} / HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    text = exposed(stage)
    operations = len(stage.gateway.router.table.domains["shop"].operations) + 1  # and what matches none
    made = {labels for name, labels in series(text) if name == "banyan_gateway_request_seconds_count"}
    assert sum(cell.classes[2] for cell in stage.gateway.meter.cells.values()) == REQUESTS
    assert len(made) <= 2 * operations
    assert len(series(text)) < 60 * 2 * operations


async def test_names_follow_the_conventions(stage: Stage) -> None:
    await stage.client.get("/items")
    await asyncio.sleep(0)
    for family in text_string_to_metric_families(exposed(stage)):
        assert family.name.startswith("banyan_gateway_")
        assert family.documentation
        if family.type == "counter":
            assert all(sample.name.endswith(("_total", "_created")) for sample in family.samples)
        if family.type == "histogram":
            bounds = [float(s.labels["le"]) for s in family.samples if s.name.endswith("_bucket")]
            assert "_seconds" in family.name
            assert min(bounds) <= 0.001
            assert max(bound for bound in bounds if bound != float("inf")) >= 10
