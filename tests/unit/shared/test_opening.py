"""How an attempt opens, and when the numbers jump."""

import pytest

from shared import events
from shared.events import Event
from shared.log.opening import opening


def log(last: int) -> list[Event]:
    return [events.make(1, seq, events.DELTA, {"delta": {"content": "a"}}) for seq in range(1, last + 1)]


def opened(found: list[Event], *, attempt: int = 2, log_seq: int = 0, trusted: bool = True) -> Event:
    return opening(found, attempt=attempt, model="demo", reason=events.DRAINED, log_seq=log_seq, trusted=trusted)


def test_the_first_attempt_starts() -> None:
    assert opened([], attempt=1) == events.make(1, 1, events.STARTED, {"attempt": 1, "model": "demo"})


def test_an_attempt_after_one_that_wrote_nothing_starts_too() -> None:
    assert opened([], attempt=3) == events.make(3, 1, events.STARTED, {"attempt": 3, "model": "demo"})


@pytest.mark.parametrize("log_seq", [0, 4, 5])
def test_an_attempt_that_finds_the_whole_log_goes_on(log_seq: int) -> None:
    assert opened(log(5), log_seq=log_seq) == events.make(2, 6, events.RESTARTED, {"attempt": 2, "reason": "drained"})


@pytest.mark.parametrize(
    ("found", "log_seq", "trusted", "seq"),
    [
        (0, 1, True, 10_001),  # emptied
        (4, 5, True, 10_005),  # rolled back
        (5, 5, False, 10_005),  # whole as far as the row knows, but Redis has lived another life since
        (9, 5, False, 10_005),
        (0, 0, False, 10_000),  # nobody knows whether anything was shown
    ],
)
def test_an_attempt_that_cannot_know_the_whole_log_jumps(found: int, log_seq: int, trusted: bool, seq: int) -> None:
    jump = opened(log(found), log_seq=log_seq, trusted=trusted)

    assert jump == events.make(2, seq, events.RESTARTED, {"attempt": 2, "reason": "log_lost"})
    assert jump.is_legal_jump


def test_two_jumps_from_the_same_place_never_collide() -> None:
    # Some find the jump before in the log, others find nothing: each jumps beyond all before it.
    seqs = []
    found: list[Event] = []
    for attempt in range(2, 9):
        jump = opened(found, attempt=attempt, log_seq=5, trusted=False)
        seqs.append(jump.seq)
        found = [jump] if attempt % 3 else []

    assert seqs == [5 + 10_000 * jumps for jumps in range(1, 8)]
