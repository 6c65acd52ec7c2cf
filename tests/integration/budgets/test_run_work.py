"""How much work a worker does for one job: the counts are budgets, and a test fails when one grows. Lower them when one shrinks.

Counted are all threads and the event loop; renewals and checks of logs, which come with time and not with jobs, are kept away.
"""

import pytest

from shared.config import Settings
from shared.models import Status
from tests.integration.budgets.work import Work, counted
from tests.integration.jobs import Jobs
from tests.integration.working import Step, working
from workers.providers.base import Chunk

STOP = Chunk(finish_reason="stop")
SELDOM_SECONDS = 600.0


@pytest.fixture
def rarely(config: Settings) -> Settings:
    """Settings under which nothing is renewed while a test runs."""
    return config.model_copy(update={"lease_seconds": 2 * SELDOM_SECONDS, "renew_seconds": SELDOM_SECONDS})


def work_of_a_job(jobs: Jobs, config: Settings, *script: Step, conversation: bool = False) -> Work:
    """Count the second of two equal jobs: the first one connects, and lets Redis know the script."""
    with working(config, jobs.database, list(script)) as worker:
        for _ in range(2):
            job_id = jobs.queue(conversation=jobs.conversation() if conversation else None)
            with counted(jobs.database, everywhere=True) as work, worker.running():
                pass
            assert jobs.row(job_id).status is Status.COMPLETED
    return work


@pytest.mark.parametrize("conversation", [False, True], ids=["alone", "in a conversation"])
def test_a_job_of_one_token(jobs: Jobs, rarely: Settings, *, conversation: bool) -> None:
    """Claim, prompt, end, and, for many jobs at once, the record that their logs are closed and a look for the next turns.

    SQLite ends a job in several statements.
    """
    statements = 4 + 2 * conversation + (2 + conversation if jobs.database.is_sqlite else 0)

    assert work_of_a_job(jobs, rarely, "Hello", STOP, conversation=conversation).counts() == (statements, 4 + conversation, 3, 3)


def test_a_job_of_many_tokens_that_come_at_once_costs_no_more_statements(jobs: Jobs, rarely: Settings) -> None:
    one = work_of_a_job(jobs, rarely, "Hello", STOP)
    many = work_of_a_job(jobs, rarely, *["Hello "] * 500, STOP)

    assert (many.statements, many.transactions, many.loop_crossings) == (one.statements, one.transactions, one.loop_crossings)


def test_a_doorbell_without_a_job(jobs: Jobs, rarely: Settings) -> None:
    with working(rarely, jobs.database, []) as worker:
        with worker.running():
            pass
        with counted(jobs.database, everywhere=True) as work, worker.running():
            pass

    assert (work.statements, work.transactions, work.loop_crossings) == (1, 1, 0)
