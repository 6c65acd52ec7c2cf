"""The queue is a doorbell: a message means that there is work, and contains an id and nothing else.

The id is a job's, or a webhook delivery's; which one follows from the task's name.
"""

import queue
import threading
import time
from collections.abc import Sequence

import structlog
from celery import Celery
from kombu.entity import Exchange
from kombu.entity import Queue as BrokerQueue
from redis.exceptions import RedisError

from shared.config import Settings
from shared.redis import doorbell, keyspace, redis_clients, tls

RUN_TASK = "chatrelay.run"
DELIVER_TASK = "chatrelay.deliver"

BROKER_CONNECTIONS = 50
BROKER_ANSWER_SECONDS = 5
BROKER_CONNECT_SECONDS = 5

WAITING_RINGS = 10_000
RINGS_AT_ONCE = 100
FLUSH_POLL_SECONDS = 0.01

log = structlog.get_logger(__name__)


def make_celery(config: Settings) -> Celery:
    """Return a Celery app as all sides use it: the API rings with it, workers and Flower run on it."""
    app = Celery("chatrelay", broker=tls.broker_url(config.redis_url), set_as_current=False)
    app.conf.update(
        broker_use_ssl=tls.broker_tls(config.redis_url),
        task_ignore_result=True,
        task_acks_late=True,  # so that a worker takes no more messages than it has threads
        task_create_missing_queues=False,
        task_default_queue=keyspace.DOORBELL_QUEUE,
        # The nameless exchange needs no binding in Redis, so that ringing works in one that was just emptied.
        task_queues=[BrokerQueue(keyspace.DOORBELL_QUEUE, Exchange(""), routing_key=keyspace.DOORBELL_QUEUE)],
        task_default_exchange="",
        task_default_routing_key=keyspace.DOORBELL_QUEUE,
        task_serializer="json",
        accept_content=["json"],
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # A fail-over wakes those who wait on the queue with an error reply, and then answers writes with one. Celery takes such
        # replies for the end of the worker unless this makes it come back from them, too.
        broker_channel_error_retry=True,
        broker_pool_limit=BROKER_CONNECTIONS,
        broker_transport_options={
            # A message that is taken is gone: a worker that dies loses doorbells, and a sweep rings again. Keeping unacknowledged
            # messages in Redis would only bring back needless doorbells, and kombu (5.7) raises on acknowledging after a reconnect.
            "ack_emulation": False,
            "max_connections": BROKER_CONNECTIONS,
            "socket_timeout": BROKER_ANSWER_SECONDS,
            "socket_connect_timeout": BROKER_CONNECT_SECONDS,
            "socket_keepalive": True,
        },
        worker_prefetch_multiplier=1,
        worker_concurrency=config.worker_concurrency,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_enable_prefetch_count_reduction=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
    )
    return app


class Queue:
    """Rings for work: at once, or in a thread of its own, so that the caller does not wait however long the broker takes to answer.

    A ring that finds no room, or no broker, is dropped: it costs its job a sweep's delay and nothing else. The thread starts with
    the first ring, after any fork.
    """

    def __init__(self, config: Settings) -> None:
        """Make the Celery app; nothing is connected yet."""
        self.celery = make_celery(config)
        self._redis = redis_clients.blocking(config.redis_url)
        self._waiting: queue.Queue[str] = queue.Queue(WAITING_RINGS)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def ring(self, job_id: str) -> None:
        """Ring for a job, soon. A broker that is away costs the job a sweep's delay and nothing else."""
        self._start()
        try:
            self._waiting.put_nowait(job_id)
        except queue.Full:
            log.warning("doorbell.dropped", job=job_id, waiting=WAITING_RINGS)

    def send(self, item_id: str, task: str = RUN_TASK) -> bool:
        """Publish a message now, and return whether the broker took it.

        Args:
            item_id: the job, or for `DELIVER_TASK` the webhook delivery.
            task: which task is to run.
        """
        return self._publish([item_id], task)

    def _publish(self, item_ids: Sequence[str], task: str) -> bool:
        try:
            self._redis.lpush(keyspace.DOORBELL_QUEUE, *(doorbell.message(task, item_id) for item_id in item_ids))
        except RedisError as error:
            for item_id in item_ids:
                log.warning("doorbell.lost", task=task, id=item_id, error=str(error))
            return False
        return True

    def flush(self, seconds: float) -> None:
        """Wait until all rings are out, but not longer than this."""
        until = time.monotonic() + seconds
        while self._waiting.unfinished_tasks and time.monotonic() < until:
            time.sleep(FLUSH_POLL_SECONDS)

    def close(self) -> None:
        """Close the connections to the broker."""
        self.celery.close()
        self._redis.close()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="doorbell", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            job_ids = self._gathered()
            try:
                self._publish(job_ids, RUN_TASK)
            except Exception:
                log.exception("doorbell.broken", id=job_ids[0])  # the thread's boundary: without it this process would ring no more
            finally:
                for _ in job_ids:
                    self._waiting.task_done()

    def _gathered(self) -> Sequence[str]:
        """Return all jobs that wait to be rung for, at least one: they gather while the broker answers."""
        job_ids = [self._waiting.get()]
        while len(job_ids) < RINGS_AT_ONCE:
            try:
                job_ids.append(self._waiting.get_nowait())
            except queue.Empty:
                break
        return job_ids
