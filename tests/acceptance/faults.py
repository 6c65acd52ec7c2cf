"""What can die, pause or be lost, done to real processes."""

import signal
import time

from celery import Celery
from sqlalchemy import func, select

from dev.testing.stack import Process, wait_until
from shared.database import Database
from shared.jobs import claiming
from shared.log import stream
from shared.models import UNFINISHED, Job, Status
from shared.redis import keyspace
from tests.acceptance.chaos import Arena

AWAY_SECONDS = 10.0
"""How long a database is stopped."""
ASK_SECONDS = 1.0


def alive_workers(arena: Arena) -> list[Process]:
    """List the workers that run."""
    return [worker for worker in arena.stack.workers if worker.is_running()]


def kill_one_worker(arena: Arena) -> None:
    """SIGKILL one of two workers; another takes its place later."""
    alive_workers(arena)[0].kill()
    arena.new_worker()


def kill_every_worker(arena: Arena) -> None:
    """SIGKILL all workers, then start new ones."""
    for worker in alive_workers(arena):
        worker.kill()
    arena.new_worker()
    arena.new_worker()


def kill_a_web_process(arena: Arena) -> None:
    """SIGKILL an API process with all its children, and start another at its address."""
    arena.stack.webs[0].kill()
    arena.stack.restart_web(0)


def kill_redis(arena: Arena) -> None:
    """SIGKILL Redis, and start it with what it had on disk."""
    arena.redis.process.kill()
    arena.redis.start()


def lose_redis(arena: Arena) -> None:
    """SIGKILL Redis, and start it with nothing."""
    arena.redis.process.kill()
    arena.redis.remove_data()
    arena.redis.start()


def empty_redis(arena: Arena) -> None:
    """FLUSHALL while everybody lives."""
    arena.redis.client.flushall()


def pause_a_worker(arena: Arena) -> None:
    """SIGSTOP a worker past its lease, until all its jobs are taken over; then wake it up."""
    worker = alive_workers(arena)[0]
    worker.signal(signal.SIGSTOP)
    try:
        _wait_until_taken_over(arena)
    finally:
        worker.signal(signal.SIGCONT)
    _wait_until_it_lets_go(arena, worker)


def _wait_until_it_lets_go(arena: Arena, worker: Process) -> None:
    """The paused worker finds that its jobs were taken over, logs it, and closes its connections to the model."""
    wait_until(lambda: "lease.lost" in worker.log(), "the paused worker to notice")
    wait_until(lambda: '"reason": "lost"' in worker.log() or "job.taken_over" in worker.log(), "the paused worker to give up")
    submitted = len(arena.jobs)
    wait_until(lambda: int(str(arena.stack.stats()["open_streams"])) <= submitted, "the paused worker to close its connections")


def pause_a_worker_and_empty_redis(arena: Arena) -> None:
    """FLUSHALL while the owner is stopped and another has taken over; then wake the owner up."""
    worker = alive_workers(arena)[0]
    worker.signal(signal.SIGSTOP)
    try:
        _wait_until_taken_over(arena)
        arena.redis.client.flushall()
    finally:
        worker.signal(signal.SIGCONT)


def _wait_until_taken_over(arena: Arena) -> None:
    """Wait until no unfinished job of this round has a lapsed lease, having waited for the lease to lapse."""
    database = Database(arena.stack.environment["DATABASE_URL"])
    started = {job["id"]: attempt for job, attempt in zip(arena.jobs, _attempts(database, arena), strict=True)}
    wait_until(lambda: any(now > started[job] for job, now in _by_job(database, arena).items()), "a take-over")
    wait_until(lambda: not _lapsed(database, arena), "every orphan to be taken over")
    wait_until(lambda: _opened(arena, _by_job(database, arena)), "every new attempt to open")
    database.engine.dispose()


def _opened(arena: Arena, attempts: dict[str, int]) -> bool:
    """Whether the last entry of every log is the newest attempt's."""
    found = {job: list(stream.read(arena.redis.client, job)) for job in attempts}
    return all(log and log[-1].attempt == attempts[job] for job, log in found.items())


def _by_job(database: Database, arena: Arena) -> dict[str, int]:
    return {job["id"]: attempt for job, attempt in zip(arena.jobs, _attempts(database, arena), strict=True)}


def _attempts(database: Database, arena: Arena) -> list[int]:
    ids = [job["id"] for job in arena.jobs]
    with database.read() as session:
        found = {row.id: row.attempt for row in session.execute(select(Job.id, Job.attempt).where(Job.id.in_(ids)))}
    return [found[job_id] for job_id in ids]


def _lapsed(database: Database, arena: Arena) -> bool:
    with database.read() as session:
        return bool(session.scalar(select(func.count()).where(Job.id.in_([job["id"] for job in arena.jobs]), claiming.lapsed())))


def empty_redis_and_kill_the_owners(arena: Arena) -> None:
    """FLUSHALL together with the death of every owner: the one legal jump."""
    for worker in alive_workers(arena):
        worker.signal(signal.SIGSTOP)
    arena.redis.client.flushall()
    kill_every_worker(arena)


def stop_the_database(arena: Arena) -> None:
    """Stop PostgreSQL for ten seconds; meanwhile the API says so, and when to come back."""
    assert arena.postgres is not None
    arena.postgres.stop()
    until = time.monotonic() + AWAY_SECONDS
    while time.monotonic() < until:
        refused = arena.client.http.get("/jobs")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
        assert int(refused.headers["Retry-After"]) >= 1
        time.sleep(ASK_SECONDS)  # the fault itself, not a wait for something
    arena.postgres.start()


def ring_twice(arena: Arena) -> None:
    """Deliver each message again: the doorbell rings once more for every job."""
    app = Celery(broker=arena.redis.url)
    for job in arena.jobs:
        app.send_task("chatrelay.run", args=(job["id"],), queue=keyspace.DOORBELL_QUEUE, ignore_result=True)
    app.close()


def drop_messages(arena: Arena) -> None:
    """Take every message out of the queue before a worker is there to see it."""
    wait_until(lambda: arena.redis.client.llen(keyspace.DOORBELL_QUEUE) == len(arena.jobs), "all doorbells")
    arena.redis.client.delete(keyspace.DOORBELL_QUEUE)
    arena.new_worker()
    arena.new_worker()


def no_workers(arena: Arena) -> None:
    """Stop all workers, so that messages stay in the queue."""
    for worker in alive_workers(arena):
        worker.stop()


def kill_between_commit_and_terminal_event(arena: Arena) -> None:
    """Freeze Redis until the rows say that the jobs are over, kill the workers, and let Redis go on."""
    # An attempt that has not opened yet would wait for Redis, and never come to its end.
    wait_until(lambda: all(len(reading.events) > 1 for reading in arena.readings), "every attempt to have opened")
    database = Database(arena.stack.environment["DATABASE_URL"])
    arena.redis.process.signal(signal.SIGSTOP)
    try:
        wait_until(lambda: _ended_but_open(database, arena), "every row to be committed")
    finally:
        for worker in alive_workers(arena):
            worker.kill()
        arena.redis.process.signal(signal.SIGCONT)
    database.engine.dispose()
    arena.new_worker()
    arena.new_worker()


def _ended_but_open(database: Database, arena: Arena) -> bool:
    ids = [job["id"] for job in arena.jobs]
    with database.read() as session:
        unfinished = session.scalar(select(func.count()).where(Job.id.in_(ids), Job.status.in_(UNFINISHED)))
        still_open = session.scalar(select(func.count()).where(Job.id.in_(ids), Job.status == Status.COMPLETED, ~Job.log_closed))
    return unfinished == 0 and bool(still_open)
