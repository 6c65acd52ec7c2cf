"""Who reads foreground answers in this process: noted in Redis every few seconds, so that an abandoned one is cancelled.

Clients of OpenAI's API have no other way to stop an answer than to hang up. That is seen at the socket, since a request for a whole
answer writes nothing until its end, and a stream nothing while the model is silent.
"""

import os
import socket as sockets
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import gevent.socket
import structlog
from gevent.monkey import get_original
from redis import Redis
from redis.exceptions import RedisError

from api.streaming.hub import Hub
from shared.redis import reader_presence

NOTES_PER_PERIOD = 4
MAX_PAUSE_SECONDS = 5.0

_PlainSocket: Any = get_original("socket", "socket")
"""Python's own class, which never waits for gevent's loop."""

T = TypeVar("T")

log = structlog.get_logger(__name__)


class ReaderPresence:
    """The readers of foreground answers, by job. Its thread starts with the process' first reader of any kind, after any fork."""

    def __init__(self, redis: Redis, hub: Hub, abandoned_seconds: float) -> None:
        """Keep the parts; `abandoned_seconds`: how long an answer goes on without a reader, 0: to its end."""
        self._redis = redis
        self._hub = hub
        self._pause_seconds = min(abandoned_seconds / NOTES_PER_PERIOD, MAX_PAUSE_SECONDS)
        self._lock = threading.Lock()
        self._readers: dict[str, list[object]] = {}
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, unless it runs or nothing is ever abandoned."""
        with self._lock:
            if self._thread is None and self._pause_seconds:
                self._thread = threading.Thread(target=self._run, name="presence", daemon=True)
                self._thread.start()

    @contextmanager
    def reading(self, job_id: str, socket: object) -> Iterator[None]:
        """Count as a reader of a job for as long as the block runs. One that is left by an exception was not read to the end.

        Args:
            job_id: the job.
            socket: the reader's, as gunicorn has it in the environment; one of another kind is taken for open.
        """
        if not self._pause_seconds:
            yield
            return
        self._add(job_id, socket)
        is_over = False
        try:
            yield
            is_over = True
        finally:
            was_last = self._remove(job_id, socket)
            if is_over:
                self._guarded(lambda: reader_presence.forget(self._redis, [job_id]))
            elif was_last:
                self._guarded(lambda: reader_presence.note(self._redis, [job_id]))

    def while_read(self, job_id: str, socket: object, frames: Iterable[T]) -> Iterator[T]:
        """Yield frames, and count as a reader meanwhile."""
        with self.reading(job_id, socket):
            yield from frames

    def _add(self, job_id: str, socket: object) -> None:
        with self._lock:
            self._readers.setdefault(job_id, []).append(socket)

    def _remove(self, job_id: str, socket: object) -> bool:
        """Remove a reader; return whether it was the last one here that had not hung up."""
        with self._lock:
            readers = self._readers[job_id]
            readers.remove(socket)
            if not readers:
                del self._readers[job_id]
            return not any(map(_is_open, readers))

    def _run(self) -> None:
        pause = threading.Event()
        while not pause.wait(self._pause_seconds):
            self._guarded(self._note_all)

    def _note_all(self) -> None:
        with self._lock:
            here = {job_id: any(map(_is_open, readers)) for job_id, readers in self._readers.items()}
        reader_presence.note(self._redis, [job_id for job_id, is_read in here.items() if is_read])
        others = [job_id for job_id in self._hub.followed() if job_id and job_id not in here]
        reader_presence.note(self._redis, others, only_known=True)  # readers through other APIs of ours

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except RedisError as error:
            log.warning("presence.redis_away", error=str(error))


def _is_open(socket: Any) -> bool:
    """Return whether a reader has not hung up."""
    if type(socket) is not gevent.socket.socket:
        return True
    try:
        with _PlainSocket(fileno=os.dup(socket.fileno())) as plain:
            received: bytes = plain.recv(1, sockets.MSG_PEEK | sockets.MSG_DONTWAIT)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return received != b""
