"""Who is rung for when a job ends, and that many ends of one user at once get along."""

from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import select

from shared.database import now_ms
from shared.jobs import claiming, held_ending
from shared.jobs.ending import Ending
from shared.jobs.held_ending import Ended
from shared.models import Job, Status, User
from tests.integration.entries import begun
from tests.integration.jobs import Jobs

DONE = Ending(Status.COMPLETED, "stop", usage={"total_tokens": 3, "estimated": False})
THREADS = 8
JOBS = 80


def end(jobs: Jobs, job: Job | None, max_running: int = claiming.UNLIMITED) -> Ended:
    assert job is not None
    ended = held_ending.end(jobs.database, job, job.attempt, begun(2), DONE, [], max_running)
    assert ended is not None
    return ended


def test_the_next_turn_is_rung_for(jobs: Jobs) -> None:
    conversation = jobs.conversation()
    jobs.queue(conversation=conversation)
    first = jobs.claim()
    second = jobs.queue(conversation=conversation)
    jobs.queue(conversation=conversation)

    assert end(jobs, first).waiting_id == second


def test_the_next_turn_is_rung_for_after_a_cancel_too(jobs: Jobs) -> None:
    conversation = jobs.conversation()
    jobs.queue(conversation=conversation)
    first = jobs.claim()
    assert first is not None
    jobs.set(first.id, cancel_requested_ms=now_ms())
    second = jobs.queue(conversation=conversation)

    ended = end(jobs, first)
    assert (ended.terminal.type, ended.waiting_id) == ("cancelled", second)


def test_nobody_is_rung_for_who_did_not_wait_for_this_end(jobs: Jobs) -> None:
    user = jobs.user()
    jobs.queue(user)
    running = jobs.claim()
    jobs.queue(user)
    jobs.queue()

    assert end(jobs, running).waiting_id is None


def test_each_end_of_a_user_at_the_limit_rings_for_a_job_whose_doorbell_was_refused(jobs: Jobs) -> None:
    user = jobs.user()
    for _ in range(5):
        jobs.queue(user)
    running = [jobs.claim(max_running=2) for _ in range(2)]
    assert [jobs.claim(max_running=2) for _ in range(3)] == [None] * 3

    # Both end before the first ring is answered; and the third doorbell has to come from the job that this ring starts
    assert all(end(jobs, job, 2).waiting_id for job in running)
    assert end(jobs, jobs.claim(max_running=2), 2).waiting_id is not None


def test_many_ends_of_one_user_at_once_count_every_token(jobs: Jobs) -> None:
    user = jobs.user()
    for _ in range(JOBS):
        jobs.queue(user)
    claimed = [jobs.claim() for _ in range(JOBS)]
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda job: end(jobs, job), claimed))

    with jobs.database.read() as session:
        assert session.scalar(select(User.used_tokens).where(User.id == user)) == 3 * JOBS
