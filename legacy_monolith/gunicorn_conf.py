"""How gunicorn serves the monolith: threads, and connections that live longer than the gateway keeps them."""

import os
import shutil
import tempfile

worker_class = "gthread"
workers = int(os.environ.get("LEGACY_WORKERS", "2"))
threads = 8
keepalive = 75  # s; longer than the gateway's idle time, so that it never sends on a connection that is being closed
timeout = 60
graceful_timeout = 10
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108, PTH112  (heartbeats off the disk)
accesslog = None  # the application writes its own line
errorlog = "-"
loglevel = "warning"

# Read by prometheus_client when it is imported, which happens in the workers, after this file.
_metrics = tempfile.mkdtemp(prefix="legacy-metrics-")
os.environ["PROMETHEUS_MULTIPROC_DIR"] = _metrics


def child_exit(server, worker):
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid, _metrics)


def on_exit(server):
    shutil.rmtree(_metrics, ignore_errors=True)
