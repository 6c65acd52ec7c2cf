"""A job's log in its owner's memory: what to write next, and what the answer means."""

import asyncio

import pytest

from shared import events
from shared.events import Event
from tests.writer_lease import WriterLease
from workers.log import job_log
from workers.log.job_log import JobLog, LogLost, LogMoved

EXPIRY_MS = 1000


def delta(seq: int, attempt: int = 1) -> Event:
    return events.make(attempt, seq, events.DELTA, {"delta": {"content": str(seq)}})


def started(seq: int = 1, attempt: int = 1) -> Event:
    return events.make(attempt, seq, events.STARTED, {"attempt": attempt, "model": "demo"})


def made(found: int = 0, attempt: int = 1) -> JobLog:
    """The log of an attempt that found so many entries of another."""
    earlier = [delta(seq) for seq in range(1, found + 1)]
    opening = started(found + 1, attempt)
    log = JobLog(WriterLease(attempt=attempt), earlier, expiry_ms=EXPIRY_MS)
    log.add(opening)
    return log


def say(log: JobLog, count: int) -> None:
    for _ in range(count):
        log.append(events.DELTA, {"delta": {"content": "a"}})


def written(log: JobLog) -> JobLog:
    """The log, with all that it has confirmed."""
    while log.pending:
        log.confirm(log.write(0))
    return log


def ids(log: JobLog) -> list[str]:
    return [event.id for event in log.entries]


def test_the_first_write_follows_nothing() -> None:
    log = made()
    say(log, 2)
    write = log.write(77)

    assert (write.previous, write.rewrite, write.lease_us, write.expiry_ms) == ("0-0", False, 77, EXPIRY_MS)
    assert [event.id for event in write.entries] == ["1-1", "1-2", "1-3"]
    assert not log.is_open


def test_a_later_attempt_follows_what_it_found() -> None:
    log = made(found=3, attempt=2)
    write = log.write(0)

    assert (write.attempt, write.previous) == (2, "1-3")
    assert [event.id for event in write.entries] == ["2-4"]
    assert log.last_seq == 3


def test_what_is_confirmed_is_not_written_again() -> None:
    log = made()
    write = log.write(0)
    say(log, 1)
    log.confirm(write)

    assert (log.is_open, log.pending, log.last_seq) == (True, True, 1)
    assert [event.id for event in log.write(0).entries] == ["1-2"]
    assert log.write(0).previous == "1-1"


def test_without_pending_entries_a_write_only_looks() -> None:
    write = written(made()).write(0)

    assert (write.previous, write.entries) == ("1-1", [])


def test_a_write_is_bounded() -> None:
    log = made()
    say(log, job_log.BATCH_ENTRIES)
    first = log.write(0)
    log.confirm(first)

    assert len(first.entries) == job_log.BATCH_ENTRIES
    assert [event.seq for event in log.write(0).entries] == [job_log.BATCH_ENTRIES + 1]


@pytest.mark.parametrize(("tail", "left"), [("1-2", 1), ("1-1", 2), ("0-0", 3)])
def test_after_a_roll_back_the_missing_entries_are_written_again(tail: str, left: int) -> None:
    log = made()
    say(log, 2)
    written(log).repair(tail)
    write = log.write(0)

    assert (write.previous, write.rewrite) == (tail, False)
    assert [event.id for event in write.entries] == ids(log)[-left:]


def test_what_was_shown_once_is_remembered_through_a_repair() -> None:
    log = made()
    say(log, 9)
    written(log).repair("0-0")

    assert log.last_seq == 10
    log.confirm(log.write(0)._replace(entries=log.entries[:3]))
    assert log.last_seq == 10


def test_a_foreign_tail_is_written_over_with_the_same_ids() -> None:
    log = made(found=2, attempt=2)
    say(log, 2)
    before = ids(written(log))
    say(log, 1)
    log.repair("1-9")
    write = log.write(0)

    assert (write.rewrite, write.previous) == (True, "0-0")
    assert [event.id for event in write.entries] == [*before, "2-6"]
    say(log, 1)
    log.confirm(write)
    assert (log.rewriting, log.last_seq) == (False, 6)
    assert [event.id for event in log.write(0).entries] == ["2-7"]


def test_the_repair_of_a_repair_follows_the_last_tail() -> None:
    log = made()
    say(log, 3)
    written(log).repair("9-9")
    log.confirm(log.write(0))
    log.repair("1-2")

    assert (log.write(0).rewrite, log.write(0).previous) == (False, "1-2")


def test_an_attempt_that_had_not_opened_reads_again() -> None:
    log = made(found=2, attempt=2)
    log.repair("1-3")

    assert log.is_lost
    with pytest.raises(LogMoved):
        asyncio.run(log.flushed())


def test_an_attempt_that_had_not_opened_restores_what_it_found() -> None:
    log = made(found=2, attempt=2)
    log.repair("0-0")

    assert [event.id for event in log.write(0).entries] == ["1-1", "1-2", "2-3"]


def test_the_terminal_event_needs_no_lease_and_has_an_expiry_of_its_own() -> None:
    log = written(made())
    log.close(events.make(1, 2, events.COMPLETED, {}), 9)
    write = log.write(0)

    assert log.closing
    assert (write.expiry_ms, [event.id for event in write.entries]) == (9, ["1-2"])


def test_the_size_is_that_of_all_data() -> None:
    log = made(found=2, attempt=2)
    say(log, 2)

    assert log.bytes == sum(len(event.data) for event in log.entries)


def test_who_waits_goes_on_when_all_is_written() -> None:
    async def scene() -> bool:
        log = made()
        waiting = [asyncio.create_task(log.flushed()) for _ in range(2)]
        await asyncio.sleep(0)
        write = log.write(0)
        say(log, 1)
        log.confirm(write)
        await asyncio.sleep(0)
        early = any(task.done() for task in waiting)
        log.confirm(log.write(0))
        await asyncio.gather(*waiting)
        return early

    assert asyncio.run(scene()) is False


def test_who_waits_for_a_lost_log_is_told() -> None:
    async def scene() -> None:
        log = made()
        waiting = asyncio.create_task(log.flushed())
        await asyncio.sleep(0)
        log.fail(LogLost())
        await waiting

    with pytest.raises(LogLost):
        asyncio.run(scene())


def test_a_waiter_that_gives_up_does_not_disturb_the_others() -> None:
    async def scene() -> None:
        log = made()
        impatient, patient = (asyncio.create_task(log.flushed()) for _ in range(2))
        await asyncio.sleep(0)
        impatient.cancel()
        await asyncio.sleep(0)
        log.confirm(log.write(0))
        await patient

    asyncio.run(scene())
