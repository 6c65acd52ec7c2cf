"""The list of models, as an API process knows it."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from api.model_list import FRESH_SECONDS, ModelList
from dev.testing.stack import Redis
from shared.redis import keyspace


@pytest.fixture
def other_redis(tmp_path: Path) -> Iterator[Redis]:
    redis = Redis(tmp_path)
    yield redis
    redis.close()


def store(redis: Redis, *ids: str) -> None:
    redis.client.set(keyspace.MODELS_KEY, orjson.dumps([{"id": model_id} for model_id in ids]))


def test_two_apps_in_one_process_have_a_list_each(empty_redis: Redis, other_redis: Redis) -> None:
    store(empty_redis, "one")
    store(other_redis, "two", "three")
    first, second = ModelList(empty_redis.client), ModelList(other_redis.client)

    assert first.models() == [{"id": "one"}]
    assert second.models() == [{"id": "two"}, {"id": "three"}]


def test_a_list_is_kept_for_a_few_seconds(empty_redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    models = ModelList(empty_redis.client)
    assert models.models() == []
    store(empty_redis, "one")
    assert models.models() == []
    monkeypatch.setattr("time.monotonic", later(FRESH_SECONDS))
    assert models.models() == [{"id": "one"}]


def later(seconds: float) -> Any:
    now = time.monotonic()
    return lambda: now + seconds


def test_while_redis_is_away_the_last_list_is_shown(other_redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    store(other_redis, "one")
    models = ModelList(other_redis.client)
    assert models.models() == [{"id": "one"}]
    other_redis.close()
    monkeypatch.setattr("time.monotonic", later(FRESH_SECONDS))
    assert models.models() == [{"id": "one"}]
