"""The chaos ring: whatever dies, every job ends, and every reader sees every token once."""

import random
from collections.abc import Iterator

import pytest

from dev.servers.postgres_server import PostgresServer
from tests.acceptance import faults
from tests.acceptance.chaos import GAP_MS, TOKENS, Arena, Round, arena, play

LONG_ROUNDS = 50

FROM_THE_START = f"demo?tokens={TOKENS}&gap_ms={GAP_MS}&first_ms=1500"
"""A model that is silent for a while, so that the fault falls between claim and first token."""

SLOW = f"demo?tokens={TOKENS}&gap_ms={2 * GAP_MS}&first_ms=200"
"""A model that still answers when the fault comes a second late."""

ROUNDS = {
    "one worker killed": Round(faults.kill_one_worker),
    "every worker killed": Round(faults.kill_every_worker),
    "every worker killed before the claim": Round(faults.kill_every_worker, at=-1),
    "every worker killed before the first token": Round(faults.kill_every_worker, at=1 / TOKENS, model=FROM_THE_START),
    "a worker killed between commit and terminal event": Round(faults.kill_between_commit_and_terminal_event, at=0.4),
    "a web process killed": Round(faults.kill_a_web_process),
    "redis killed": Round(faults.kill_redis),
    "redis lost": Round(faults.lose_redis),
    "redis emptied": Round(faults.empty_redis),
    "each message delivered twice": Round(faults.ring_twice, at=-1),
    "each message dropped": Round(faults.drop_messages, at=-1, prepare=faults.no_workers),
    "redis emptied and every owner killed": Round(faults.empty_redis_and_kill_the_owners, jumps=True),
}

PAUSES = {
    "a worker paused past its lease": Round(faults.pause_a_worker, model=SLOW),
    "a worker paused past its lease, redis emptied": Round(faults.pause_a_worker_and_empty_redis, model=SLOW),
    "the database stopped": Round(faults.stop_the_database),
}


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="module")
def on_postgres(tmp_path_factory: pytest.TempPathFactory, own_postgres: PostgresServer) -> Iterator[Arena]:
    folder = tmp_path_factory.mktemp("chaos-postgres")
    with arena(folder, own_postgres.create_database(), postgres=own_postgres) as made:
        yield made


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    folder = tmp_path_factory.mktemp("chaos-sqlite")
    with arena(folder, f"sqlite:///{folder / 'chatrelay.db'}") as made:
        yield made


@pytest.mark.parametrize("name", ROUNDS)
def test_nothing_is_lost(on_postgres: Arena, name: str) -> None:
    play(on_postgres, ROUNDS[name])


@pytest.mark.parametrize("name", PAUSES)
def test_nothing_is_lost_in_a_pause(on_postgres: Arena, name: str) -> None:
    play(on_postgres, PAUSES[name])


def test_nothing_is_lost_on_sqlite(on_sqlite: Arena) -> None:
    play(on_sqlite, ROUNDS["every worker killed"])


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", [*ROUNDS, *PAUSES])
def test_many_times_over(on_postgres: Arena, name: str) -> None:
    chance = random.Random(name)
    plan = {**ROUNDS, **PAUSES}[name]
    for _ in range(LONG_ROUNDS):
        at = chance.uniform(0, 0.95) if plan.at > 0 else plan.at
        play(on_postgres, Round(**{**vars(plan), "at": at}))
