"""How an attempt opens: the event that fences the attempt before, and the one legal jump of the sequence.

An attempt that follows another continues its numbers. Where Redis lost the log *and* the log's owner is dead, it is not known how
far readers have read, so the numbers jump far beyond what can have been shown. The jump grows with the attempt: where one that has
jumped dies before the row knows it, and Redis is lost once more, the next jumps further and never to the same number.
"""

from collections.abc import Sequence

from shared import events
from shared.events import Event


def opening(found: Sequence[Event], *, attempt: int, model: str, reason: str, log_seq: int, trusted: bool) -> Event:
    """Make the first event of an attempt.

    Args:
        found: the log as it is now.
        attempt: the attempt that opens.
        model: the model that is asked.
        reason: why there was an attempt before, if there was.
        log_seq: how far the log is known to have been written.
        trusted: whether Redis has lived on since the log's last owner saw it whole.
    """
    last = found[-1].seq if found else 0
    if last < log_seq or not trusted:
        # From what the row knows, which only grows, and not from what was found: the next look may find less.
        seq = max(last + 1, log_seq + events.LOG_LOST_JUMP * max(1, attempt - 1))
        return events.make(attempt, seq, events.RESTARTED, {"attempt": attempt, "reason": events.LOG_LOST})
    if found:
        return events.make(attempt, last + 1, events.RESTARTED, {"attempt": attempt, "reason": reason})
    return events.make(attempt, 1, events.STARTED, {"attempt": attempt, "model": model})
