"""`/v1/models` and `/v1/moderations` through OpenAI's own SDK, unmodified."""

from typing import Any

import openai
import pytest
from openai import OpenAI

from dev.testing.client import Client
from dev.testing.stack import wait_until
from shared.redis import keyspace
from tests.api.conftest import ON_SQLITE
from tests.api.deployment import Deployment
from tests.openai_reader import sdk


@ON_SQLITE
def test_the_providers_models_are_listed_and_the_agents(api: OpenAI, deployment: Deployment) -> None:
    wait_until(lambda: deployment.redis.client.exists(keyspace.MODELS_KEY), "a worker to have read the list")
    wait_until(lambda: len(api.models.list().data) > 1, "this process to read it too")
    listed = api.models.list().data
    assert [model.id for model in listed][-1] == "agent"
    assert "demo" in [model.id for model in listed]
    assert all(model.object == "model" and isinstance(model.created, int) for model in listed)
    assert api.models.retrieve("agent").id == "agent"
    with pytest.raises(openai.NotFoundError) as unknown:
        api.models.retrieve("org/no-such-model")
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")


def test_without_a_worker_there_are_the_default_and_the_agents(idle_client: Client) -> None:
    with sdk(idle_client.url, idle_client.token) as api:
        assert [model.id for model in api.models.list()] == ["demo", "agent"]


@ON_SQLITE
def test_inputs_are_judged_each_in_its_place(api: OpenAI) -> None:
    assert api.moderations.create(input="please flagme").results[0].flagged
    several = api.moderations.create(input=["Hello", "flagme", "Bye"])
    assert [result.flagged for result in several.results] == [False, True, False]
    parts: Any = [{"type": "text", "text": "flagme"}, {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}]
    assert api.moderations.create(input=parts, model="omni-moderation-latest").results[0].flagged


@ON_SQLITE
@pytest.mark.parametrize("given", [[], 5, ["x"] * 101, [{"type": "audio"}], ["x", {"type": "text", "text": "y"}]])
def test_an_input_that_makes_no_sense_is_refused_by_name(api: OpenAI, given: Any) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        api.moderations.create(input=given)
    assert str(refused.value.param).startswith("input")
