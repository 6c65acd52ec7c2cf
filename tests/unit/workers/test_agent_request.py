"""What an agent is sent, and as part of which of its conversations."""

import uuid
from typing import Any

from shared.agents.requests import REQUEST_FIELDS
from workers.providers.agent import request as agent_request
from workers.providers.base import AgentPosition, CompletionRequest

ORIGIN = {"agent": "a", "id": "", "response_id": "r", "conversation_id": "c", "error": ""}
CONVERSATION: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "One"},
    {"role": "assistant", "content": None, "tool_calls": []},
    {"role": "user", "content": [{"type": "text", "text": "What is "}, {"type": "image_url", "image_url": {"url": "data:"}}]},
]


def request(messages: list[dict[str, Any]], **position: Any) -> dict[str, str]:
    sent = agent_request.request_fields(CompletionRequest("agent", messages, position=AgentPosition(**position)))
    assert tuple(sent) == REQUEST_FIELDS
    return sent


def test_a_message_that_is_alone_is_its_own_text() -> None:
    sent = request(CONVERSATION[1:2])
    assert (sent["content"], sent["conversation_id"]) == ("One", "")
    assert uuid.UUID(sent["message_id"]) != uuid.UUID(sent["parent_id"])


def test_a_new_conversation_of_the_agents_gets_all_there_was() -> None:
    assert request(CONVERSATION)["content"] == "System: Be brief.\n\nUser: One\n\nAssistant: \n\nUser: What is [image]"


def test_within_its_conversation_it_gets_the_newest_message_alone() -> None:
    sent = request(CONVERSATION, origin=ORIGIN)
    assert agent_request.bound_agent(AgentPosition(ORIGIN)) == "a"
    assert {name: sent[name] for name in REQUEST_FIELDS[1:]} == {
        "conversation_id": "c",
        "parent_id": "r",
        "content": "What is [image]",
    }


def test_ids_of_the_callers_choice_go_before_ours() -> None:
    sent = request(CONVERSATION, origin=ORIGIN, message_id="m", parent_id="p")
    assert (sent["message_id"], sent["parent_id"]) == ("m", "p")


def test_an_agent_that_named_no_conversation_cannot_go_on() -> None:
    nameless = {**ORIGIN, "conversation_id": ""}
    assert agent_request.bound_agent(AgentPosition(nameless)) is None
    sent = request(CONVERSATION, origin=nameless)
    assert sent["conversation_id"] == ""
    assert sent["parent_id"] != "r"
    assert sent["content"].startswith("System: ")


def test_an_answer_without_an_id_is_followed_by_a_made_up_one() -> None:
    assert uuid.UUID(request(CONVERSATION, origin={**ORIGIN, "response_id": ""})["parent_id"])
