"""A log, its owners and its readers in any order of events: every reader sees one log, dense and once.

The script, the owner's memory and the reader are the product's own. What this machine plays is the world: lost answers, lost and
doubled publications, cut connections, dead owners, stale ones that go on writing, and a Redis that is emptied or rolled back.
"""

from copy import copy
from dataclasses import replace
from itertools import pairwise
from typing import Any, cast

import hypothesis.strategies as st
import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from structlog.testing import capture_logs

from api.streaming.batch import Batch
from api.streaming.follower import Follower
from api.streaming.subscription import Subscription
from dev.testing.stack import Redis
from shared import events
from shared.database import Database
from shared.events import Event
from shared.ids import new_id
from shared.log import stream
from shared.log.opening import opening
from shared.log.stream import WriteVerdict
from shared.redis import keyspace
from tests.integration.entries import Listener, logged
from tests.integration.flushing import lease_of
from tests.writer_lease import WriterLease
from workers.log.flusher import Flusher
from workers.log.job_log import JobLog

EXPIRY_MS = 60_000
EXAMPLES = 60
STEPS = 50
LAPSED_US = 1
LONG_AGO = 1e-9
MAX_LOOKS = 50

HEARTBEAT_SECONDS = 10.0
TIMES_DELIVERED = st.sampled_from([0, 1, 1, 1, 2])


class Reader:
    """The product's reader, and what it has told."""

    def __init__(self, client: redis.Redis, job_id: str, cursor: int) -> None:
        self.begun_at = cursor
        self.received: list[Event] = []
        self.subscription = Subscription()
        self.subscription.confirm(True)
        self._follower = Follower(cast("Database", None), client, self.subscription, job_id, cursor, HEARTBEAT_SECONDS)

    @property
    def cursor(self) -> int:
        return self.received[-1].seq if self.received else self.begun_at

    @property
    def is_done(self) -> bool:
        return self._follower._done

    def read(self, *, after_a_while: bool) -> list[Event]:
        """Take what can be told now; after a while, a look that was put off is due."""
        if after_a_while and self._follower._read_at:
            self._follower._read_at = LONG_AGO
        received = list(self._follower._next())
        self.received += received
        return received


def as_it_is(log: JobLog) -> JobLog:
    """A copy of a log in memory, of which the original knows nothing."""
    twin = copy(log)
    twin.entries, twin.lease = list(log.entries), replace(lease_of(log))
    return twin


class LogMachine(RuleBasedStateMachine):
    """One job's log, from its first attempt to its end."""

    client: redis.Redis

    def __init__(self) -> None:
        super().__init__()
        client = self.client
        self.job_id = new_id("job")
        self.listener = Listener(client, self.job_id)
        self.flusher = Flusher(cast("Any", None), "worker_1", 1)
        self.stale: list[JobLog] = []
        self.readers = [Reader(self.client, self.job_id, 0)]
        self.seen: dict[int, Event] = {}
        # Redis' life; and what the row knows: in which life the log was last found whole, and how far it then was.
        self.epoch = self.row_epoch = 1
        self.row_seq = 0

        self.owner = self.attempt_after([], trusted=True, attempt=1)
        self.open()

    # The owner

    def attempt_after(self, found: list[Event], *, trusted: bool, attempt: int) -> JobLog:
        first = self.first_event(found, trusted=trusted, attempt=attempt)
        log = JobLog(WriterLease(self.job_id, attempt), found, expiry_ms=EXPIRY_MS)
        log.add(first)
        return log

    def first_event(self, found: list[Event], *, trusted: bool, attempt: int) -> Event:
        return opening(found, attempt=attempt, model="demo", reason="worker_lost", log_seq=self.row_seq, trusted=trusted)

    def send(self, log: JobLog, *, lease_us: int = 0, answered: bool = True) -> WriteVerdict:
        write = log.write(lease_us)
        reply = cast("Any", self.client.execute_command(*write.command()))
        return self.flusher.settle(log, write, reply) if answered else stream.written(reply).verdict

    def open(self) -> None:
        """Bring the first event of an attempt to Redis; another's entry that came in between sends it back to read."""
        for _ in range(MAX_LOOKS):
            if not self.owner.pending:
                return
            self.send(self.owner)
            if self.owner.is_lost:
                found = logged(self.client, self.job_id)
                self.owner = self.attempt_after(found, trusted=self.row_epoch == self.epoch, attempt=self.owner.lease.attempt)
        raise AssertionError("the attempt does not open")

    @rule(count=st.integers(1, 4))
    def append(self, count: int) -> None:
        for _ in range(count):
            self.owner.append(events.DELTA, {"delta": {"content": f"{self.owner.lease.attempt}/{len(self.owner.entries)} "}})

    @rule(answered=st.booleans())
    def flush(self, answered: bool) -> None:
        assert self.send(self.owner, answered=answered) in (WriteVerdict.OK, WriteVerdict.HOLE)
        assert not self.owner.is_lost

    @rule()
    def renew(self) -> None:
        """The tick looks at the log, and the renewal tells the row of it."""
        if self.send(self.owner) is WriteVerdict.OK:
            self.row_epoch = self.epoch
        self.row_seq = max(self.row_seq, self.owner.last_seq)

    @rule()
    def next_attempt_in_place(self) -> None:
        """The same memory goes on under the next attempt; what it was before may still be on its way to Redis."""
        attempt, known = self.owner.lease.attempt, self.owner
        self.stale.append(as_it_is(known))
        lease_of(known).attempt = attempt + 1
        known.add(self.first_event(known.entries, trusted=True, attempt=attempt + 1))
        self.open()

    @rule(wiped=st.sampled_from([False, False, False, True]))
    def taken_over(self, wiped: bool) -> None:
        """The owner is dead, as far as anybody knows: its lease has lapsed. Redis may be emptied between look and opening."""
        self.stale.append(self.owner)
        found = logged(self.client, self.job_id)
        self.owner = self.attempt_after(found, trusted=self.row_epoch == self.epoch, attempt=self.owner.lease.attempt + 1)
        if wiped:
            self.wiped()
        self.open()

    @precondition(lambda self: self.stale)
    @rule(data=st.data(), answered=st.booleans())
    def stale_attempt_writes(self, data: st.DataObject, answered: bool) -> None:
        """It was asleep. Its lease is refused by the clock; without one, the fence refuses it for as long as it stands."""
        log = data.draw(st.sampled_from(self.stale))
        log.append(events.DELTA, {"delta": {"content": "stale"}})
        is_fenced = any(event.attempt > log.lease.attempt for event in logged(self.client, self.job_id))
        verdict = self.send(log, lease_us=data.draw(st.sampled_from([0, LAPSED_US])) if is_fenced else LAPSED_US, answered=answered)
        assert verdict in (WriteVerdict.LAPSED, WriteVerdict.FENCED)

    # Redis

    @rule()
    def wiped(self) -> None:
        self.client.delete(keyspace.log_key(self.job_id))
        self.epoch += 1

    @rule(data=st.data())
    def rolled_back(self, data: st.DataObject) -> None:
        there = logged(self.client, self.job_id)
        self.wiped()
        for event in there[: data.draw(st.integers(0, len(there)))]:
            self.client.xadd(keyspace.log_key(self.job_id), {"t": event.type, "d": event.data}, id=event.id)

    # The way to the readers

    @rule(data=st.data())
    def receive(self, data: st.DataObject) -> None:
        """Deliver what was published; each message to each reader never, once or twice."""
        for message in self.listener.received():
            for reader in self.readers:
                for _ in range(data.draw(TIMES_DELIVERED)):
                    reader.subscription.receive(Batch(events.unpack(message)))

    @rule(data=st.data())
    def reconnected(self, data: st.DataObject) -> None:
        reader = data.draw(st.sampled_from(self.readers))
        self.listener.received()
        reader.subscription.confirm(False)
        reader.subscription.confirm(True)

    @rule(data=st.data())
    def comes(self, data: st.DataObject) -> None:
        known = sorted({0, *(reader.cursor for reader in self.readers)})
        self.readers.append(Reader(self.client, self.job_id, data.draw(st.sampled_from(known))))

    @rule(data=st.data(), after_a_while=st.booleans())
    def reads(self, data: st.DataObject, after_a_while: bool) -> None:
        self.look(data.draw(st.sampled_from(self.readers)), after_a_while=after_a_while)

    def look(self, reader: Reader, *, after_a_while: bool = True) -> None:
        before = reader.cursor
        for event in reader.read(after_a_while=after_a_while):
            assert event.seq == before + 1 or (event.seq > before and event.is_legal_jump), f"{before} → {event.id}"
            assert self.seen.setdefault(event.seq, event) == event, "two readers saw two events under one number"
            before = event.seq

    # What holds

    @invariant()
    def an_owner_remembers_one_log(self) -> None:
        pairs = pairwise(self.owner.entries)
        assert all(after.seq == before.seq + 1 or after.is_legal_jump for before, after in pairs)
        assert [event.attempt for event in self.owner.entries] == sorted(event.attempt for event in self.owner.entries)

    def end(self) -> None:
        """The job ends: all that its owner remembers is in Redis, and every reader has it."""
        self.owner.close(events.make(self.owner.lease.attempt, self.owner.entries[-1].seq + 1, "completed", {}), EXPIRY_MS)
        for _ in range(MAX_LOOKS):
            if self.owner.pending:
                self.send(self.owner)
        whole = self.owner.entries
        last_jump = max((event.seq for event in whole if event.is_legal_jump), default=0)
        assert logged(self.client, self.job_id) == whole
        for reader in self.readers:
            for _ in range(MAX_LOOKS):
                reader.subscription.confirm(True)
                if not reader.is_done:
                    self.look(reader)
            assert reader.is_done
            lost = [event for event in reader.received if event not in whole]
            assert [event for event in reader.received if event in whole] == [
                event for event in whole if event.seq > reader.begun_at
            ]
            assert all(event.seq < last_jump for event in lost)

    def teardown(self) -> None:
        try:
            self.end()
        finally:
            self.listener.close()


@pytest.mark.timeout(400)  # a failure is made smaller for up to five minutes
def test_every_reader_sees_one_log(empty_redis: Redis) -> None:
    class OnThisRedis(LogMachine):
        client = empty_redis.client

    bounds = settings(max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, suppress_health_check=list(HealthCheck))
    with capture_logs():  # each hole is a warning
        run_state_machine_as_test(OnThisRedis, settings=bounds)
