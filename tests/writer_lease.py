"""The lease under which a log is written in tests, where no job is claimed."""

from dataclasses import dataclass

ENDLESS = 2.0**40


@dataclass
class WriterLease:
    """What a log asks of its lease; the test moves its end, and raises its attempt."""

    job_id: str = "job_1"
    attempt: int = 1
    ends_at: float = ENDLESS
