"""The Celery app's worker side: the task, and what happens when a worker process starts, beats, drains and stops."""

import sys
from typing import Any

from celery import signals
from celery.exceptions import Reject
from kombu.transport.redis import Channel

from shared.config import settings
from shared.queue import DELIVER_TASK, RUN_TASK, Queue
from shared.redis import rights
from shared.security.private_files import protect
from shared.telemetry import log_setup
from workers.worker import Worker

# A connection that is lost takes the messages that were taken from it along: they are doorbells, and their jobs are running.
Channel.do_restore = False

log_setup.configure(settings().log_level, settings().log_format)  # before Celery warns of anything

queue = Queue(settings())
app = queue.celery
app.conf.update(worker_pool="workers.glue.celery_pool:TaskPool", worker_consumer="workers.glue.celery_consumer:Consumer")

_running: list[Worker] = []
"""The process' worker; filled when Celery starts one, so that importing this module starts nothing."""


def run(_job_id: str) -> None:
    """Run the next job. The id says which job rang; the claim chooses which one runs."""
    worker = _running[0]
    if worker.draining.is_set():
        raise Reject(requeue=True)
    worker.run_next()


def deliver(delivery_id: str) -> None:
    """Deliver a webhook that is due."""
    worker = _running[0]
    if worker.draining.is_set():
        raise Reject(requeue=True)
    worker.deliver(delivery_id)


app.task(run, name=RUN_TASK)
app.task(deliver, name=DELIVER_TASK)


def _start(**_: Any) -> None:
    """Start the worker, or end the process: Celery would go on without it, and take messages in vain."""
    try:
        protect(settings())
        rights.check(settings().redis_url)
        worker = Worker(settings(), queue)
        worker.start()
    except Exception as error:  # the boundary of the process: whatever it is, one line says so
        sys.stderr.write(f"chatrelay: cannot start: {error}\n")
        raise SystemExit(1) from error
    _running.append(worker)


def _beat(**_: Any) -> None:
    """Note that Celery's consumer is alive: it sends this signal itself."""
    for worker in _running:
        worker.pulse.note_consumer()


def _drain(**_: Any) -> None:
    for worker in _running:
        worker.drain()


def _stop(**_: Any) -> None:
    while _running:
        _running.pop().stop()
    sys.stderr.flush()


def _configure_logs(**_: Any) -> None:
    log_setup.configure(settings().log_level, settings().log_format)


signals.setup_logging.connect(_configure_logs, weak=False)
signals.worker_init.connect(_start, weak=False)
signals.heartbeat_sent.connect(_beat, weak=False)
signals.worker_shutting_down.connect(_drain, weak=False)
signals.worker_shutdown.connect(_stop, weak=False)

__all__ = ["app"]
