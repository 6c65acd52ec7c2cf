"""One worker process: all its parts, started and stopped together."""

import socket
import threading
import time
from collections.abc import Callable

import structlog

from shared.config import Settings
from shared.database import Database
from shared.errors import DatabaseUnavailable
from shared.ids import new_id
from shared.queue import Queue
from shared.redis import redis_clients
from shared.security.vault import Vault
from workers.glue.alive_file import alive_file
from workers.lease import cancel_listener
from workers.lease.claimer import Claimer
from workers.lease.leases import Leases
from workers.lease.renewer import LeaseRenewer
from workers.log.flusher import Flusher
from workers.loop import Loop
from workers.prompt import token_counter
from workers.providers.agent.provider import AgentProvider
from workers.providers.model_list import ModelListUpdater
from workers.providers.moderation import Moderation
from workers.providers.openai.embeddings import Embeddings
from workers.providers.openai.provider import OpenAIProvider
from workers.providers.routing import Routing
from workers.pulse import Pulse
from workers.run.attempt import AttemptRunner
from workers.run.closings import Closings
from workers.run.job import JobRunner
from workers.sweep import Sweep
from workers.webhooks.post import WebhookClient
from workers.webhooks.sender import WebhookSender

START_SECONDS = 10.0
START_POLL_SECONDS = 0.02
STOP_SECONDS = 5.0

log = structlog.get_logger(__name__)


class Worker:
    """The parts of one process: an event loop, a flusher, the leases, a sweep."""

    def __init__(self, config: Settings, queue: Queue) -> None:
        """Build the parts; `start` sets them going."""
        self.id = new_id("worker")
        self.draining = threading.Event()
        self._config = config
        self._queue = queue
        self._stopped = threading.Event()
        self._leases = Leases()
        self._database = Database(config.database)
        self._loop = Loop()
        path = alive_file(config.data_dir, socket.gethostname())
        self.pulse = Pulse(path, self._loop, lambda: self.draining.is_set() or self._flusher.is_away)
        self._loop.run(self._build())

    async def _build(self) -> None:
        """Build on the loop what lives on it."""
        config = self._config
        redis = redis_clients.nonblocking(config.redis_url)
        listener = redis_clients.nonblocking(config.redis_url, answer_seconds=None)
        self._provider = OpenAIProvider(config.openai_api_key.get_secret_value(), config.openai_base_url)
        self._flusher = Flusher(redis, self.id, config.renew_seconds)
        renewals = Database(config.database, connections=1)
        self._renewer = LeaseRenewer(config, renewals, self._loop, self._flusher, self._leases)
        claimer = Claimer(config, self._database, self._loop, self._flusher, self._leases, self._renewer, self.id)
        moderation = Moderation(self._provider.client, config.moderation_model)
        agents = AgentProvider(redis, config, self.id)
        embeddings = Embeddings(self._provider.client)
        routing = Routing(self._provider, embeddings, moderation, agents, moderate=config.moderate)
        attempts = AttemptRunner(config, redis, self._flusher, routing)
        self._closings = Closings(self._database, redis_clients.blocking(config.redis_url), self._queue)
        self._jobs = JobRunner(config, self._database, self._queue, self._loop, self._leases, claimer, attempts, self._closings)
        vault, client = Vault(config.secret_key), WebhookClient(private=config.webhook_private)
        self._webhooks = WebhookSender(self._database, vault, self._loop, client)
        self._sweep = Sweep(config, self._database, redis_clients.blocking(config.redis_url), self._queue)
        model_list = ModelListUpdater(redis, self._provider.client)
        self._forever = (
            self._flusher.run,
            self._flusher.tick,
            agents.listen,
            model_list.run,
            lambda: cancel_listener.listen(listener, self._leases),
        )

    def start(self) -> None:
        """Start the coroutines and the two threads, and wait until Redis has been seen (bounded)."""
        token_counter.of_text(
            "", self._config.default_model
        )  # reads what tokens are counted by: half a second, not of the first job
        for forever in self._forever:
            self._loop.start(forever())
        self._closing = self._start_thread("closings", self._closings.run, self._stopped)
        self._start_thread("renewer", self._renewer.run, self._stopped)
        self._start_thread("pulse", self.pulse.run, self._stopped)
        self._start_thread("sweep", self._sweep.run, self._stopped, self._renewer.is_steady)
        until = time.monotonic() + START_SECONDS
        while self._flusher.seen_epoch is None and time.monotonic() < until:
            time.sleep(START_POLL_SECONDS)
        log.info("worker.started", worker=self.id)

    @staticmethod
    def _start_thread(name: str, run: Callable[..., None], *args: object) -> threading.Thread:
        thread = threading.Thread(target=run, args=args, name=name, daemon=True)
        thread.start()
        return thread

    def run_next(self) -> None:
        """Run the next job. While the database is away none can be claimed: a sweep rings again."""
        try:
            self._jobs.run_next()
        except DatabaseUnavailable as error:
            log.warning("claim.database_away", error=str(error.__cause__))

    def deliver(self, delivery_id: str) -> None:
        """Try a webhook's delivery."""
        try:
            self._webhooks.send(delivery_id)
        except DatabaseUnavailable as error:
            log.warning("webhook.database_away", error=str(error.__cause__))

    def drain(self) -> None:
        """Take no new job, let the running ones go on for DRAIN_SECONDS, then give them back."""
        if self.draining.is_set():
            return
        self.draining.set()
        log.info("worker.draining", seconds=self._config.drain_seconds, jobs=len(self._leases.all()))
        timer = threading.Timer(self._config.drain_seconds, self._leases.drain)
        timer.daemon = True
        timer.start()

    def stop(self) -> None:
        """Stop all parts; no job runs any more."""
        self._stopped.set()
        self._closing.join(STOP_SECONDS)
        self._queue.flush(STOP_SECONDS)
        self._loop.run(self._provider.close())
        self._loop.stop()
        log.info("worker.stopped", worker=self.id)
