"""What `/api/ask` answers to a question that is gone before its answer is there."""

from types import SimpleNamespace
from typing import Any

import pytest

from api.dialects.chatgpt_api_server import asking
from shared.errors import NotFound
from shared.models import Job


def test_a_question_that_is_deleted_while_it_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: Any) -> Job:
        raise NotFound("There is no such job.")

    jobs = SimpleNamespace(wait_for_end=gone)
    monkeypatch.setattr(asking, "context", lambda: SimpleNamespace(jobs=jobs))
    answer = asking.wait_for_answer(Job())
    assert (answer.status_code, answer.json) == (500, {"error": "Conversation doesn't exists"})
