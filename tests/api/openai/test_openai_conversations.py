"""`/v1/conversations` and their items through OpenAI's own SDK, unmodified; they are the conversations of all dialects."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from openai import OpenAI

from dev.testing.client import Client
from tests.api.conftest import ON_SQLITE
from tests.api.deployment import Deployment
from tests.openai_reader import sdk

ECHO = "demo?echo=1&gap_ms=0"
CALL: Any = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
OUTPUT: Any = {"type": "function_call_output", "call_id": "call_1", "output": "21 degrees"}


def says(text: str, role: str = "user") -> Any:
    return {"type": "message", "role": role, "content": text}


def texts(api: OpenAI, conversation_id: str, **query: Any) -> list[str]:
    listed = api.conversations.items.list(conversation_id, **{"order": "asc", **query})
    return [item.content[0].text for item in listed if item.type == "message"]  # type: ignore[union-attr]


def test_a_conversation_lives_and_ends(api: OpenAI) -> None:
    made = api.conversations.create(metadata={"a": "b"}, items=[says("one"), says("two", "assistant")])
    assert (made.object, made.metadata) == ("conversation", {"a": "b"})
    assert api.conversations.retrieve(made.id) == made
    assert api.conversations.update(made.id, metadata={"c": "d"}).metadata == {"c": "d"}
    assert texts(api, made.id) == ["one", "two"]
    gone = api.conversations.delete(made.id)
    assert (gone.object, gone.deleted) == ("conversation.deleted", True)
    with pytest.raises(openai.NotFoundError) as unknown:
        api.conversations.retrieve(made.id)
    assert unknown.value.param == "conversation_id"


def test_items_are_put_in_paged_shown_and_taken_out(api: OpenAI) -> None:
    made = api.conversations.create()
    added = api.conversations.items.create(made.id, items=[says(str(number)) for number in range(5)])
    assert len(added.data) == 5
    more = api.conversations.items.create(made.id, items=[says("5")])
    assert [item.to_dict()["content"][0]["text"] for item in more.data] == ["5"]  # type: ignore[index]
    assert texts(api, made.id, limit=2) == [str(number) for number in range(6)]
    assert texts(api, made.id, order="desc", limit=4) == [str(number) for number in reversed(range(6))]
    third = api.conversations.items.list(made.id, order="asc", limit=3).data[-1]
    assert third.id
    assert api.conversations.items.retrieve(third.id, conversation_id=made.id) == third
    assert api.conversations.items.delete(third.id, conversation_id=made.id).id == made.id
    assert texts(api, made.id) == ["0", "1", "3", "4", "5"]
    with pytest.raises(openai.NotFoundError):
        api.conversations.items.retrieve(third.id, conversation_id=made.id)


@ON_SQLITE
def test_calls_are_items_of_their_own(api: OpenAI) -> None:
    second: Any = {**CALL, "call_id": "call_2", "name": "g"}
    made = api.conversations.create(items=[says("Well?"), says("Let me see.", "assistant"), CALL, second, OUTPUT])
    listed = api.conversations.items.list(made.id, order="asc").data
    assert [item.type for item in listed] == ["message", "message", "function_call", "function_call", "function_call_output"]
    assert [item.call_id for item in listed[2:]] == ["call_1", "call_2", "call_1"]  # type: ignore[union-attr]
    assert listed[3].id
    api.conversations.items.delete(listed[3].id, conversation_id=made.id)
    left = api.conversations.items.list(made.id, order="asc").data
    assert [item.type for item in left] == ["message", "message", "function_call", "function_call_output"]
    assert left[1].id
    api.conversations.items.delete(left[1].id, conversation_id=made.id)
    assert [item.type for item in api.conversations.items.list(made.id, order="asc")] == [
        "message",
        "function_call",
        "function_call_output",
    ]


@ON_SQLITE
def test_a_deletion_that_is_asked_for_again_takes_nothing_more(api: OpenAI) -> None:
    second: Any = {**CALL, "call_id": "call_2"}
    made = api.conversations.create(items=[says("Well?"), says("Let me see.", "assistant"), CALL, second, OUTPUT])
    first = api.conversations.items.list(made.id, order="asc").data[2]
    assert first.id
    api.conversations.items.delete(first.id, conversation_id=made.id)
    with pytest.raises(openai.NotFoundError):
        api.conversations.items.delete(first.id, conversation_id=made.id)
    left = api.conversations.items.list(made.id, order="asc").data
    assert [item.call_id for item in left[2:]] == ["call_2", "call_1"]  # type: ignore[union-attr]


def test_items_of_one_message_are_deleted_at_once(api: OpenAI) -> None:
    calls: list[Any] = [{**CALL, "call_id": f"call_{number}"} for number in range(4)]
    for _ in range(5):
        made = api.conversations.create(items=[says("Well?"), says("Let me see.", "assistant"), *calls])
        ids = [item.id or "" for item in api.conversations.items.list(made.id, order="asc")]
        with ThreadPoolExecutor(len(ids) - 1) as threads:
            list(threads.map(lambda item_id, made=made: api.conversations.items.delete(item_id, conversation_id=made.id), ids[1:]))
        assert texts(api, made.id) == ["Well?"]
        assert len(api.conversations.items.list(made.id).data) == 1


@ON_SQLITE
def test_a_call_has_one_name_in_its_response_and_in_its_conversation(api: OpenAI) -> None:
    tool: Any = {"type": "function", "name": "f", "parameters": {"type": "object"}}
    made = api.conversations.create()
    answer = api.responses.create(model="demo", input="x", tools=[tool], tool_choice="required", conversation=made.id)
    assert "function_call" in [item.type for item in answer.output]
    shown = api.conversations.items.list(made.id, order="asc").data
    assert [item.id for item in shown[1:]] == [item.id for item in answer.output]


@pytest.mark.parametrize("idle_deployment", ["sqlite"], indirect=True)
def test_history_is_seen_while_answers_are_to_come(idle_deployment: Deployment, idle_client: Client) -> None:
    conversation_id = idle_client.submit("one")["conversation_id"]
    idle_client.submit("two", conversation_id=conversation_id)
    with sdk(idle_deployment.url, idle_client.token) as api:
        assert texts(api, conversation_id) == ["one", "two"]


@ON_SQLITE
@pytest.mark.parametrize("whole_turn", [False, True])
def test_what_follows_an_answer_that_was_removed_is_shown_what_came_before(api: OpenAI, *, whole_turn: bool) -> None:
    made = api.conversations.create(items=[says("I am Ann.")])
    api.responses.create(model=ECHO, input="Who am I?", conversation=made.id)
    last = api.responses.create(model=ECHO, input="And now?", conversation=made.id)
    items = api.conversations.items.list(made.id, order="asc").data
    for item in items[-2 if whole_turn else -1 :]:
        api.conversations.items.delete(item.id or "", conversation_id=made.id)
    answer = api.responses.create(model=ECHO, input="Say my name.", previous_response_id=last.id).output_text
    assert "I am Ann." in answer
    assert "Who am I?" in answer
    assert ("And now?" in answer) is not whole_turn
    assert texts(api, made.id)[-2] == "Say my name."


def test_a_response_is_a_turn_of_a_conversation(api: OpenAI) -> None:
    made = api.conversations.create(items=[says("I am Ann.")])
    first = api.responses.create(model=ECHO, input="Who am I?", conversation=made.id)
    assert "I am Ann." in first.output_text
    assert first.conversation is not None
    assert first.conversation.id == made.id
    second = api.responses.create(model=ECHO, input="And now?", conversation={"id": made.id})
    assert "Who am I?" in second.output_text
    listed = api.conversations.items.list(made.id, order="asc").data
    assert [item.id for item in listed][2] == first.output[0].id
    assert len(listed) == 5


@ON_SQLITE
def test_a_conversation_goes_on_from_dialect_to_dialect(api: OpenAI, client: Client) -> None:
    # Given one that began in our own API and went on in a dialect
    job = client.finished(client.submit("first")["id"])
    asked = client.http.post("/chat/process", json={"message": "second", "session_id": job["conversation_id"]}).json()
    conversation_id = job["conversation_id"]
    assert asked["session_id"] == conversation_id

    # Then it is read here, goes on here, and is seen there
    assert texts(api, conversation_id)[::2] == ["first", "second"]
    api.conversations.items.create(conversation_id, items=[says("By the way:")])
    answer = api.responses.create(model=ECHO, input="third", conversation=conversation_id).output_text
    assert all(word in answer for word in ("first", "second", "By the way:", "third"))
    shown = client.http.get(f"/chat/session/{conversation_id}").json()["messages"]
    assert [message["content"] for message in shown if message["role"] == "user"] == ["first", "second", "By the way:", "third"]


@ON_SQLITE
def test_items_put_in_while_an_answer_is_to_come_stand_behind_it(api: OpenAI) -> None:
    made = api.conversations.create()
    running = api.responses.create(model="demo?tokens=10&gap_ms=50", input="one", conversation=made.id, background=True)
    api.conversations.items.create(made.id, items=[says("two")])
    for _ in api.responses.retrieve(running.id, stream=True):
        pass
    assert [text.split()[0] for text in texts(api, made.id)] == ["one", "1", "two"]


@ON_SQLITE
def test_nobody_reaches_what_is_anothers(deployment: Deployment, api: OpenAI) -> None:
    made = api.conversations.create(items=[says("a secret")])
    (item,) = api.conversations.items.list(made.id)
    assert item.id
    with sdk(deployment.url, deployment.user().token) as stranger:
        for reach in (
            lambda: stranger.conversations.retrieve(made.id),
            lambda: stranger.conversations.update(made.id, metadata={}),
            lambda: stranger.conversations.delete(made.id),
            lambda: stranger.conversations.items.list(made.id),
            lambda: stranger.conversations.items.create(made.id, items=[says("mine")]),
            lambda: stranger.conversations.items.retrieve(item.id or "", conversation_id=made.id),
            lambda: stranger.responses.create(model=ECHO, input="x", conversation=made.id),
        ):
            with pytest.raises(openai.NotFoundError):
                reach()
    assert texts(api, made.id) == ["a secret"]


@ON_SQLITE
@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"items": [says("x")] * 21}, "items"),
        ({"items": [{"type": "shell_call"}]}, "items.0.type"),
        ({"items": [{"role": "user"}]}, "items.0.content"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(client: Client, body: dict[str, Any], param: str) -> None:
    answer = client.http.post("/v1/conversations", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@ON_SQLITE
@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "order=up"])
def test_a_page_that_makes_no_sense_is_refused_by_name(client: Client, query: str) -> None:
    made = client.http.post("/v1/conversations", json={}).json()
    answer = client.http.get(f"/v1/conversations/{made['id']}/items?{query}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, query.partition("=")[0])
    assert client.http.get(f"/v1/conversations/{made['id']}/items?after=msg_x").status_code == 404


def test_an_item_is_not_longer_than_a_message(api: OpenAI) -> None:
    made = api.conversations.create()
    for create in (api.conversations.create, lambda items: api.conversations.items.create(made.id, items=items)):
        with pytest.raises(openai.BadRequestError) as refused:
            create(items=[says("x" * 1_000_001)])
        assert (refused.value.param, refused.value.code) == ("items", "string_above_max_length")
