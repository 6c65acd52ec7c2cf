"""How much work a worker with nothing to do does: the counts are budgets, and a test fails when one grows."""

import redis

from shared.config import Settings
from tests.integration.budgets.work import counted
from tests.integration.jobs import Jobs
from tests.integration.recorded_queue import RecordedQueue
from workers.sweep import Sweep


def test_a_sweep_that_finds_nothing(jobs: Jobs, config: Settings, redis_client: redis.Redis) -> None:
    sweep = Sweep(config, jobs.database, redis_client, RecordedQueue(config))
    sweep.once()  # the first one prunes
    with counted(jobs.database) as work:
        sweep.once()

    assert work.counts() == (1, 1, 1, 0)
