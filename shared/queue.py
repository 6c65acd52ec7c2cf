"""The queue is a doorbell: the Celery app, the names of its tasks, and `ring`. A message is a job id and nothing else."""

import structlog
from celery import Celery
from kombu.entity import Exchange, Queue
from kombu.exceptions import OperationalError

from shared import keyspace
from shared.config import Settings, settings

RUN_TASK = "chatrelay.run"

BROKER_CONNECTIONS = 50
BROKER_ANSWER_SECONDS = 5
BROKER_CONNECT_SECONDS = 5

log = structlog.get_logger(__name__)


def make_celery(config: Settings) -> Celery:
    """Make the Celery app that both sides share: the API rings with it, workers and Flower run on it."""
    app = Celery("chatrelay", broker=config.redis_url)
    app.conf.update(
        task_ignore_result=True,
        task_acks_late=True,  # so that a worker takes no more messages than it has threads
        task_create_missing_queues=False,
        task_default_queue=keyspace.DOORBELL_QUEUE,
        # The nameless exchange needs no binding in Redis, so that ringing works in one that was just emptied.
        task_queues=[Queue(keyspace.DOORBELL_QUEUE, Exchange(""), routing_key=keyspace.DOORBELL_QUEUE)],
        task_default_exchange="",
        task_default_routing_key=keyspace.DOORBELL_QUEUE,
        task_serializer="json",
        accept_content=["json"],
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_pool_limit=BROKER_CONNECTIONS,
        broker_transport_options={
            # A message that is taken is gone: a worker that dies loses doorbells, and a sweep rings again. Keeping unacknowledged
            # messages in Redis would only bring back what nobody needs, and kombu (5.7) raises on acknowledging after a reconnect.
            "ack_emulation": False,
            "max_connections": BROKER_CONNECTIONS,
            "socket_timeout": BROKER_ANSWER_SECONDS,
            "socket_connect_timeout": BROKER_CONNECT_SECONDS,
            "socket_keepalive": True,
        },
        task_publish_retry_policy={"max_retries": 1, "interval_start": 0.05, "interval_step": 0.1, "interval_max": 0.5},
        worker_prefetch_multiplier=1,
        worker_concurrency=config.worker_concurrency,
        worker_pool="workers.pool:TaskPool",
        worker_consumer="workers.consumer:Consumer",
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_enable_prefetch_count_reduction=False,
        worker_send_task_events=True,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
    )
    return app


app = make_celery(settings())


def ring(job_id: str) -> bool:
    """Say that there is work. A broker that is away costs the job a sweep's delay and nothing else.

    Returns:
        whether the message was taken.
    """
    try:
        app.send_task(RUN_TASK, args=(job_id,), ignore_result=True)
    except OperationalError as error:
        log.warning("doorbell.lost", job=job_id, error=str(error))
        return False
    return True
