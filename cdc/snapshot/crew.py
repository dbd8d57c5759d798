"""The parallel sessions of a first fill, and handing them their ranges."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from queue import SimpleQueue
from typing import Any

import psycopg
import structlog

from cdc.apply.route import Routes
from cdc.change import Transaction
from cdc.config import Stream
from cdc.errors import Transient
from cdc.snapshot.brake import LOOK_EVERY, Brake
from cdc.snapshot.held import Begin
from cdc.snapshot.progress import Progress
from cdc.snapshot.worker import Job, Worker
from cdc.throttle import too_much_wal

DONE = "UPDATE banyan.snapshot SET state = 'done', ended_at = clock_timestamp() WHERE id = %s"

log = structlog.get_logger("cdc.snapshot")


class TooMuchWal(Exception):
    """The slot of the fill keeps more than the source bears: from here on it must be read."""


def gather(
    stream: Stream,
    routes: Routes,
    jobs: int,
    dsns: tuple[str, str],
    snapshot: str,
    begin: Begin,
    stack: ExitStack,
) -> list[Worker]:
    """As many as the limits say, or as the target has origins for; one at least."""
    crew: list[Worker] = []
    for number in range(min(stream.snapshot_limits.workers, jobs)):
        try:
            worker = Worker(stream, routes, number, dsns, snapshot, begin)
        except Transient as e:
            if not crew:
                raise
            log.warning("fewer workers", stream=stream.name, workers=len(crew), reason=str(e))
            break
        stack.callback(worker.close)
        crew.append(worker)
    return crew


def work(
    crew: list[Worker],
    jobs: list[Job],
    tx: Transaction,
    brake: Brake,
    watch: psycopg.Connection[Any],
    target: psycopg.Connection[Any],
    progress: Progress,
) -> None:
    """All these ranges, in the mapping's order of tables. The first failure ends the others at their next piece.

    Raises: TooMuchWal, Interrupted, and what a worker raises.
    """
    if not jobs:
        return
    free: SimpleQueue[Worker] = SimpleQueue()
    for worker in crew:
        free.put(worker)

    def one(job: Job) -> int:
        worker = free.get()
        try:
            brake.hold()
            progress.table, progress.step = job.route.source, "blocks"
            return worker.copy(job, tx, brake)
        finally:
            free.put(worker)

    brake.look(watch, wal=False)
    left = {job.request: 0 for job in jobs}
    for job in jobs:
        left[job.request] += 1
    with ThreadPoolExecutor(len(crew), thread_name_prefix="fill") as pool:
        running: dict[Future[int], Job] = {pool.submit(one, job): job for job in jobs}
        try:
            while running:
                progress.tables_left = sum(1 for count in left.values() if count)
                done, _ = wait(running, timeout=LOOK_EVERY, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
                    request = running.pop(future).request
                    left[request] -= 1
                    if not left[request]:
                        target.execute(DONE, [request])
                if brake.due():
                    load = brake.look(watch, wal=False)
                    if (reason := too_much_wal(load, brake.limits)) is not None:
                        raise TooMuchWal(reason)
        except BaseException:
            brake.stop()
            for future in running:
                future.cancel()
            for worker in crew:
                worker.cancel()
            raise
