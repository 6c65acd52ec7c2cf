"""A queue that notes what it is rung for, and sends nothing."""

from shared.config import Settings
from shared.queue import RUN_TASK, Queue


class RecordedQueue(Queue):
    """Notes instead of sending."""

    def __init__(self, config: Settings) -> None:
        super().__init__(config)
        self.rung: list[str] = []
        self.sent: list[tuple[str, str]] = []

    def ring(self, job_id: str) -> None:
        self.rung.append(job_id)

    def send(self, item_id: str, task: str = RUN_TASK) -> bool:
        self.sent.append((item_id, task))
        return True
