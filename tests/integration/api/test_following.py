"""Readers on a real Redis: each event once and in order, whatever happens to the log and to the way there."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from api.streaming import follower
from api.streaming.endings import Endings
from dev.testing.stack import Redis, wait_until
from shared import events
from shared.config import Settings
from shared.errors import DatabaseUnavailable
from shared.events import Event
from shared.jobs import ending
from shared.jobs.ending import Ending
from shared.log import stream
from shared.models import Job, Status
from shared.pubsub import policy
from shared.redis import keyspace
from tests.integration.entries import begun, completed, delta, restarted, write
from tests.integration.jobs import Jobs
from tests.integration.readers import Reader, ReadingProcess, readers_of, reading


@pytest.fixture(autouse=True)
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener that soon notices that it must stop."""
    monkeypatch.setattr(policy, "READ_SECONDS", 0.05)


@pytest.fixture
def jobs(sqlite_jobs: Jobs) -> Jobs:
    """The kind of database makes no difference here."""
    return sqlite_jobs


@pytest.fixture
def process(config: Settings, jobs: Jobs) -> Iterator[ReadingProcess]:
    with reading(config, jobs.database) as made:
        yield made


@pytest.fixture
def job(jobs: Jobs) -> Job:
    """A job that runs."""
    return jobs.claimed()


Append = Callable[..., None]


@pytest.fixture
def append(redis_client: redis.Redis, job: Job) -> Append:
    """Append to the job's log as its worker would."""
    tail = [stream.EMPTY_TAIL]

    def appended(*entries: Event, rewrite: bool = False) -> None:
        verdict, tail[0] = write(redis_client, list(entries), tail[0], job_id=job.id, rewrite=rewrite)
        assert verdict is stream.WriteVerdict.OK

    return appended


def end(jobs: Jobs, job: Job, log: list[Event]) -> Event:
    """End a job in the database alone."""
    with jobs.database.write() as session:
        terminal = ending.end_held(session, job.id, job.attempt, log, Ending(Status.COMPLETED, "stop"), [])
    assert terminal is not None
    return terminal


def until_followed(process: ReadingProcess, readers: int = 1) -> None:
    wait_until(lambda: readers_of(process.hub) == readers, "the readers to subscribe", 5)


def test_a_reader_who_comes_first_sees_all_as_it_comes(process: ReadingProcess, job: Job, append: Append) -> None:
    reader = Reader(process, job)
    until_followed(process)
    for event in begun(5):
        append(event)
        reader.has_seen(event.seq, 10)
    append(completed(1, 6))

    assert reader.ended() == [*begun(5), completed(1, 6)]


def test_a_reader_who_comes_late_sees_all_at_once_and_then_the_rest(process: ReadingProcess, job: Job, append: Append) -> None:
    append(*begun(2500))
    reader = Reader(process, job).has_seen(2500)
    append(completed(1, 2501))

    assert reader.ended() == [*begun(2500), completed(1, 2501)]


@pytest.mark.parametrize("cursor", [0, 1, 3, 5])
def test_a_reader_goes_on_after_its_cursor(process: ReadingProcess, job: Job, append: Append, cursor: int) -> None:
    append(*begun(3))
    reader = Reader(process, job, cursor)
    until_followed(process)
    append(restarted(2, 4), delta(2, 5), delta(2, 6), completed(2, 7))

    assert reader.ended() == [*begun(3), restarted(2, 4), delta(2, 5), delta(2, 6), completed(2, 7)][cursor:]


@pytest.mark.parametrize("cursor", [0, 2, 4, 9])
def test_a_job_that_is_over_is_read_from_its_row(
    process: ReadingProcess, jobs: Jobs, job: Job, redis_client: redis.Redis, cursor: int
) -> None:
    terminal = end(jobs, job, begun(3))

    assert Reader(process, jobs.row(job.id), cursor).ended() == [*begun(3), terminal][cursor:]
    assert readers_of(process.hub) == 0


def test_a_cursor_beyond_the_end_waits(process: ReadingProcess, jobs: Jobs, job: Job, append: Append) -> None:
    append(*begun(3))
    reader = Reader(process, job, 7)
    until_followed(process)
    append(*(delta(1, seq) for seq in range(4, 10)))

    assert [event.seq for event in reader.has_seen(9).events] == [8, 9]


def test_what_was_never_published_is_found_in_the_log(
    process: ReadingProcess, job: Job, append: Append, redis_client: redis.Redis
) -> None:
    append(*begun(2))
    reader = Reader(process, job).has_seen(2)
    lost = delta(1, 3)
    redis_client.xadd(keyspace.log_key(job.id), {"t": lost.type, "d": lost.data}, id=lost.id)
    write(redis_client, [delta(1, 4), completed(1, 5)], lost.id, job_id=job.id)

    assert reader.ended() == [*begun(4), completed(1, 5)]


def test_what_is_published_twice_is_seen_once(process: ReadingProcess, job: Job, append: Append, redis_client: redis.Redis) -> None:
    append(*begun(2))
    reader = Reader(process, job).has_seen(2)
    for _ in range(3):
        redis_client.publish(keyspace.live_channel(job.id), events.pack(begun(2)))
    append(delta(1, 3), completed(1, 4))

    assert reader.ended() == [*begun(3), completed(1, 4)]


def test_a_wipe_that_the_owner_repairs_is_not_noticed(
    process: ReadingProcess, job: Job, append: Append, redis_client: redis.Redis
) -> None:
    append(*begun(5))
    reader = Reader(process, job).has_seen(5)
    redis_client.flushall()
    stranger = Reader(process, job, 5)
    until_followed(process, 2)
    write(redis_client, begun(6), job_id=job.id)
    write(redis_client, [delta(1, 7), completed(1, 8)], "1-6", job_id=job.id)

    assert reader.ended() == [*begun(7), completed(1, 8)]
    assert stranger.ended() == [delta(1, 6), delta(1, 7), completed(1, 8)]


def test_a_log_that_is_written_anew_is_not_noticed(process: ReadingProcess, job: Job, append: Append) -> None:
    append(*begun(5))
    reader = Reader(process, job).has_seen(5)
    append(*begun(7), rewrite=True)
    reader.has_seen(7)
    append(completed(1, 8))

    assert reader.ended() == [*begun(7), completed(1, 8)]


JUMP = events.LOG_LOST_JUMP + 5


def jumped(last: int) -> list[Event]:
    """What an attempt writes that found the log lost."""
    return [restarted(2, JUMP, events.LOG_LOST), *(delta(2, JUMP + offset) for offset in range(1, last)), completed(2, JUMP + last)]


def test_a_lost_log_makes_the_one_legal_jump(process: ReadingProcess, job: Job, append: Append, redis_client: redis.Redis) -> None:
    append(*begun(5))
    reader = Reader(process, job).has_seen(5)
    redis_client.flushall()
    write(redis_client, jumped(3), job_id=job.id)

    assert reader.ended() == [*begun(5), *jumped(3)]
    assert Reader(process, job).ended() == jumped(3)
    assert Reader(process, job, 9).ended() == jumped(3)


def test_a_jump_that_is_not_legal_is_not_told(process: ReadingProcess, job: Job, append: Append, redis_client: redis.Redis) -> None:
    append(*begun(3))
    reader = Reader(process, job).has_seen(3)
    write(redis_client, [delta(1, 9)], "1-3", job_id=job.id)
    time.sleep(0.3)

    assert reader.events == begun(3)
    assert Reader(process, job, 3).events == []


def test_after_a_jump_the_answer_goes_on_at_once(
    process: ReadingProcess, job: Job, append: Append, redis_client: redis.Redis
) -> None:
    append(*begun(5))
    reader = Reader(process, job).has_seen(5)
    redis_client.flushall()
    tail = stream.EMPTY_TAIL
    for event in jumped(80)[:-1]:
        tail = write(redis_client, [event], tail, job_id=job.id).tail
        time.sleep(0.02)

    assert reader.events[-1].seq > JUMP


def test_an_ending_that_nobody_published_arrives(process: ReadingProcess, jobs: Jobs, job: Job, append: Append) -> None:
    append(*begun(3))
    other = jobs.claimed()
    readers = [Reader(process, job), Reader(process, job, 2), Reader(process, other)]
    readers[0].has_seen(3)
    until_followed(process, 3)
    terminal = end(jobs, job, begun(4))
    endings = Endings(jobs.database, process.hub, 60)
    endings._ask(process.hub.followed())

    assert readers[0].ended() == [*begun(4), terminal]
    assert readers[1].ended() == [*begun(4), terminal][2:]
    assert readers[2].is_reading


def test_the_reader_of_a_job_that_was_deleted_is_let_go(process: ReadingProcess, jobs: Jobs, job: Job, append: Append) -> None:
    append(*begun(3))
    reader = Reader(process, job).has_seen(3)
    with jobs.database.write() as session:
        session.delete(session.get_one(Job, job.id))
    Endings(jobs.database, process.hub, 60)._ask(process.hub.followed())

    assert reader.ended() == begun(3)


def test_a_process_that_stops_lets_its_readers_go(process: ReadingProcess, job: Job, append: Append) -> None:
    append(*begun(3))
    readers = [Reader(process, job).has_seen(3) for _ in range(3)]
    process.hub.close()

    assert [reader.ended() for reader in readers] == [begun(3)] * 3


def test_silence_is_filled_with_heartbeats(process: ReadingProcess, job: Job, append: Append) -> None:
    reader = Reader(process, job)
    wait_until(lambda: reader.heartbeats >= 2, "two heartbeats", 5)
    append(*begun(1), completed(1, 2))

    assert reader.ended() == [*begun(1), completed(1, 2)]


def test_while_events_come_there_is_no_heartbeat(process: ReadingProcess, job: Job, append: Append) -> None:
    reader, beats = Reader(process, job), []
    # One round of five without a hitch of the machine will do: a reader that beats meanwhile does so in each
    for start in range(0, 150, 30):
        before = reader.heartbeats
        for event in begun(150)[start : start + 30]:
            append(event)
            time.sleep(0.02)
        beats.append(reader.has_seen(start + 30).heartbeats - before)

    assert min(beats) == 0


def test_readers_whose_connection_is_cut_again_and_again_see_each_event_once(
    process: ReadingProcess, jobs: Jobs, redis_client: redis.Redis
) -> None:
    running = [jobs.claimed() for _ in range(3)]
    readers = {job.id: [Reader(process, job, cursor) for cursor in (0, 0, 5, 100)] for job in running}
    until_followed(process, 12)
    logs = [*begun(400), completed(1, 401)]
    tails = dict.fromkeys(readers, stream.EMPTY_TAIL)
    for at in range(0, len(logs), 4):
        for job_id in readers:
            tails[job_id] = write(redis_client, logs[at : at + 4], tails[job_id], job_id=job_id).tail
        if at % 40 == 0:
            redis_client.client_kill_filter(_type="pubsub")
        time.sleep(0.005)

    for some in readers.values():
        assert [reader.ended() for reader in some] == [logs, logs, logs[5:], logs[100:]]


def test_a_crowd_that_comes_and_goes_sees_each_event_once(process: ReadingProcess, job: Job, append: Append) -> None:
    readers: list[tuple[int, Reader]] = []

    def come(cursor: int) -> None:
        readers.append((cursor, Reader(process, job, cursor)))

    for seq, event in enumerate(begun(200)):
        append(event)
        if seq % 10 == 0:
            threading.Thread(target=come, args=(seq // 2,)).start()
    append(completed(1, 201))
    wait_until(lambda: len(readers) == 20, "everybody to come", 5)

    log = [*begun(200), completed(1, 201)]
    assert [reader.ended() for _, reader in readers] == [log[cursor:] for cursor, _ in readers]


def test_a_redis_that_dies_and_comes_back_is_waited_for(jobs: Jobs, job: Job, tmp_path: Path, config: Settings) -> None:
    server = Redis(tmp_path, persistent=True)
    try:
        with reading(config.model_copy(update={"redis_url": server.url}), jobs.database) as process:
            write(server.client, begun(3), job_id=job.id)
            reader = Reader(process, job).has_seen(3)
            server.process.kill()
            late = Reader(process, job, 1)
            wait_until(lambda: reader.heartbeats and late.heartbeats, "heartbeats", 5)
            server.start()
            write(server.client, [delta(1, 4), completed(1, 5)], "1-3", job_id=job.id)

            assert reader.ended(10) == [*begun(4), completed(1, 5)]
            assert late.ended(10) == [*begun(4), completed(1, 5)][1:]
    finally:
        server.close()


def test_a_redis_that_stays_away_is_not_waited_for_for_ever(
    jobs: Jobs, job: Job, config: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "AWAY_SECONDS", 0.5)
    with reading(config.model_copy(update={"redis_url": "redis://127.0.0.1:1"}), jobs.database) as process:
        reader = Reader(process, job)
        try:
            assert reader.ended(10) == []
        finally:
            process.hub.close()


def test_a_redis_that_dies_and_stays_away_is_not_waited_for_for_ever(
    jobs: Jobs, job: Job, tmp_path: Path, config: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Redis(tmp_path)
    with reading(config.model_copy(update={"redis_url": server.url}), jobs.database) as process:
        write(server.client, begun(3), job_id=job.id)
        reader = Reader(process, job).has_seen(3)
        monkeypatch.setattr(follower, "AWAY_SECONDS", 0.5)
        server.close()
        try:
            assert reader.ended(5) == begun(3)
        finally:
            process.hub.close()


def test_a_database_that_is_away_cuts_a_reader_off(
    process: ReadingProcess, jobs: Jobs, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    end(jobs, job, begun(1))

    def away(*_: object) -> list[Event]:
        raise DatabaseUnavailable

    monkeypatch.setattr(ending, "archived", away)
    assert list(process.job_logs.follow(jobs.row(job.id), 0)) == []


def test_who_waits_for_a_change_is_told_of_it(process: ReadingProcess, jobs: Jobs, append: Append, job: Job) -> None:
    def end_it() -> None:
        end(jobs, job, begun(1))
        append(*begun(1), completed(1, 2))

    threading.Timer(0.2, end_it).start()
    before = time.monotonic()
    process.job_logs.wait_for_change(job, 10)

    assert 0.1 < time.monotonic() - before < 5
    assert jobs.row(job.id).status is Status.COMPLETED


def test_who_waits_for_a_change_does_not_wait_for_ever(process: ReadingProcess, job: Job) -> None:
    before = time.monotonic()
    process.job_logs.wait_for_change(job, 0.2)

    assert 0.2 <= time.monotonic() - before < 5


def test_a_change_that_has_already_come_is_not_waited_for(process: ReadingProcess, jobs: Jobs, job: Job) -> None:
    end(jobs, job, begun(1))
    before = time.monotonic()
    process.job_logs.wait_for_change(job, 10)

    assert time.monotonic() - before < 5


def test_what_a_running_job_has_said_so_far(
    process: ReadingProcess, job: Job, append: Append, config: Settings, jobs: Jobs
) -> None:
    append(*begun(3))
    assert process.job_logs.partial(job.id) == begun(3)

    with reading(config.model_copy(update={"redis_url": "redis://127.0.0.1:1"}), jobs.database) as away:
        assert away.job_logs.partial(job.id) == []
