"""What a look found is remembered for a moment, and no more of it than fits."""

import time

import pytest

from api.auth import remembered
from api.auth.remembered import Remembered


def test_it_is_remembered_for_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    memory: Remembered[str] = Remembered()
    memory.put("key", "value", seconds=1)

    now = 100.9
    assert memory.get("key") == "value"
    now = 101.0
    assert memory.get("key") is None


def test_what_is_not_true_any_more_is_forgotten() -> None:
    memory: Remembered[int] = Remembered()
    memory.put("one", 1)
    memory.put("two", 2)

    memory.forget("one")
    assert (memory.get("one"), memory.get("two")) == (None, 2)
    memory.clear()
    assert memory.get("two") is None


def test_it_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "MOST", 3)
    memory: Remembered[int] = Remembered()
    for number in range(10):
        memory.put(number, number)

    assert sum(memory.get(number) is not None for number in range(10)) <= 3
    assert memory.get(9) == 9
