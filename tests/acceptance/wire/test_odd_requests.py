"""What clients send that we do not know, or say in another way: passed on, ignored and named, or refused."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from openai import NotFoundError, OpenAI

from dev.testing.client import Client
from dev.testing.stack import Stack
from tests.acceptance.wire.shapes import CALLING, PLAIN
from tests.scripted_provider import ScriptedProvider

FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CACHED = {"type": "text", "text": "Hello", "cache_control": {"type": "ephemeral"}}
USER = {"role": "user", "content": "Hello"}
SEEN = {"type": "image_url", "image_url": {"url": "https://a.example/b.png", "detail": "low"}}
THOUGHT = {"role": "assistant", "content": "Hm", "reasoning_content": "hm", "reasoning_details": [{"data": "x"}]}
SILENT = {"role": "assistant", "content": "Hm", "tool_calls": []}
ODD_TEXT = {"type": "input_text", "text": "Hello", "odd": 1}
WRONG_TEXT, WRONG_INPUT_TEXT = {"type": "text", "text": 5}, {"type": "input_text", "text": 5}
PDF = "data:application/pdf;base64,JVBERi0="
IMAGE = "data:image/png;base64,iVBORw0="


@pytest.fixture(scope="module", params=["ignore", "refuse"])
def strict(request: pytest.FixtureRequest, stack: Stack, client: Client) -> Iterator[tuple[str, httpx2.Client]]:
    """An API process with another policy."""
    stack.start_web(UNKNOWN_PARAMETERS=request.param)
    with httpx2.Client(base_url=stack.urls[-1], headers={"Authorization": f"Bearer {client.token}"}, timeout=30) as made:
        yield request.param, made


def completed(client: Client, **body: Any) -> httpx2.Response:
    answer = client.http.post("/v1/chat/completions", json={"model": PLAIN, "messages": [USER], **body})
    assert answer.status_code == 200, answer.text
    return answer


@pytest.mark.parametrize(
    "body",
    [
        {"top_k": 5},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"thinking": {"type": "enabled", "budget_tokens": 1000}},
        {"web_search_options": {}},
        {"tools": [{"type": "custom", "custom": {"name": "patch"}}]},
        {"tools": [{**FUNCTION, "cache_control": {"type": "ephemeral"}}], "tool_choice": "required"},
        {"messages": [{"role": "user", "content": [CACHED]}]},
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}}]}]},
        {
            "messages": [
                USER,
                {"role": "assistant", "content": "Hm", "reasoning_content": "hm", "reasoning_details": [{"data": "x"}]},
                USER,
            ]
        },
        {
            "messages": [
                USER,
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [
                        {
                            "id": "a",
                            "type": "function",
                            "function": {"name": "f", "arguments": "{}"},
                            "extra_content": {"google": {"thought_signature": "s"}},
                        }
                    ],
                },
                {
                    "role": "tool",
                    "tool_call_id": "a",
                    "content": [CACHED, SEEN],
                },
            ]
        },
    ],
    ids=", ".join,
)
def test_what_the_provider_may_understand_is_passed_on(client: Client, provider: ScriptedProvider, body: dict[str, Any]) -> None:
    answer = completed(client, **body)

    asked = provider.asked[PLAIN][-1]
    assert {name: asked[name] for name in body} == body
    assert "x-chatrelay-ignored" not in answer.headers


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/jobs", "/v1/responses"])
def test_empty_lists_are_not_sent(client: Client, provider: ScriptedProvider, path: str) -> None:
    content = {"input": "Hello"} if path == "/v1/responses" else {"messages": [USER, SILENT, USER]}
    answer = client.http.post(
        path, json={"model": PLAIN, **content, "tools": [], "tool_choice": "auto", "parallel_tool_calls": True}
    )
    assert answer.status_code in {200, 202}, answer.text
    if path == "/jobs":
        client.finished(answer.json()["id"])

    asked = provider.asked[PLAIN][-1]
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & set(asked)
    assert not any("tool_calls" in message for message in asked["messages"])


def test_an_assistant_may_have_said_nothing(client: Client, provider: ScriptedProvider) -> None:
    completed(client, messages=[USER, {"role": "assistant", "content": None}, USER])

    assert provider.asked[PLAIN][-1]["messages"][1] == {"role": "assistant", "content": ""}


def test_what_is_unknown_is_ignored_and_named_or_refused(strict: tuple[str, httpx2.Client], provider: ScriptedProvider) -> None:
    policy, http = strict
    body = {"model": PLAIN, "messages": [{"role": "user", "content": [CACHED]}], "top_k": 5}
    answer = http.post("/v1/chat/completions", json=body)

    if policy == "refuse":
        error = answer.json()["error"]
        assert (answer.status_code, error["param"], error["code"]) == (400, "top_k", "unknown_parameter")
        answer = http.post("/v1/chat/completions", json={name: value for name, value in body.items() if name != "top_k"})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "messages.0.content.0.cache_control")
        answer = http.post("/v1/responses", json={"model": PLAIN, "input": "Hello", "tools": [{"type": "web_search"}]})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "tools.0.type")
        return
    assert answer.headers["x-chatrelay-ignored"] == "top_k, messages.0.content.0.cache_control"
    asked = provider.asked[PLAIN][-1]
    assert "top_k" not in asked
    assert asked["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]


def test_what_no_chat_completion_has_is_ignored_and_named(client: Client, provider: ScriptedProvider) -> None:
    function = {"type": "function", "name": "f", "parameters": {"type": "object"}, "odd": 1}
    body = {
        "model": PLAIN,
        "input": [
            {"type": "web_search_call", "id": "ws_1"},
            {"role": "user", "content": [ODD_TEXT]},
        ],
        "client_metadata": {"a": "b"},
        "tools": [function, {"type": "web_search"}, {"type": "namespace", "name": "n", "tools": []}],
    }
    answer = client.http.post("/v1/responses", json=body)

    assert answer.status_code == 200, answer.text
    named = answer.headers["x-chatrelay-ignored"].split(", ")
    kinds = {"tools.1 (web_search)", "tools.2 (namespace)", "input.0 (web_search_call)"}
    assert set(named) == {"client_metadata", "input.1.content.0.odd", "tools.0.odd", *kinds}
    asked = provider.asked[PLAIN][-1]
    assert [tool["function"]["name"] for tool in asked["tools"]] == ["f"]
    assert asked["messages"] == [USER]
    assert [tool["name"] for tool in answer.json()["tools"]] == ["f"]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (
            {"role": "user", "content": [{"type": "input_text", "text": "one"}, {"type": "input_text", "text": "two"}]},
            {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
        ),
        (
            {"role": "user", "content": [{"type": "input_file", "filename": "a.pdf", "file_data": PDF}]},
            {"role": "user", "content": [{"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}}]},
        ),
        (
            {"role": "developer", "content": [{"type": "input_text", "text": "one"}, {"type": "input_text", "text": "two"}]},
            {"role": "developer", "content": "one\ntwo"},
        ),
    ],
    ids=["texts", "a file", "a prompt"],
)
def test_parts_stay_apart(client: Client, provider: ScriptedProvider, item: dict[str, Any], message: dict[str, Any]) -> None:
    answer = client.http.post("/v1/responses", json={"model": PLAIN, "input": [item]})

    assert answer.status_code == 200, answer.text
    assert provider.asked[PLAIN][-1]["messages"] == [message]


def test_a_function_may_give_an_image_back(client: Client, provider: ScriptedProvider) -> None:
    call = {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"}
    output = [{"type": "input_text", "text": "Look"}, {"type": "input_image", "image_url": IMAGE}]
    answer = client.http.post(
        "/v1/responses",
        json={"model": PLAIN, "input": [USER, call, {"type": "function_call_output", "call_id": "a", "output": output}]},
    )

    assert answer.status_code == 200, answer.text
    parts = [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {"url": IMAGE}}]
    assert provider.asked[PLAIN][-1]["messages"][-1] == {"role": "tool", "tool_call_id": "a", "content": parts}


def test_items_may_be_sent_back_by_their_ids(api: OpenAI, provider: ScriptedProvider) -> None:
    provider.calls[CALLING] = 0
    first = api.responses.create(model=CALLING, input="Hello")
    assert [item.type for item in first.output] == ["reasoning", "message", "function_call"]

    references: list[Any] = [{"type": "item_reference", "id": item.id} for item in first.output]
    references[1].pop("type")
    output = {"type": "function_call_output", "call_id": "a", "output": "noon"}
    second = api.responses.create(model=CALLING, input=[USER, *references, output])  # type: ignore[list-item]  # plain items

    call = {"id": "a", "type": "function", "function": {"name": "get_time", "arguments": "{}"}}
    sent_back = {"role": "assistant", "content": "Let me see.", "tool_calls": [call]}
    assert provider.asked[CALLING][-1]["messages"] == [USER, sent_back, {"role": "tool", "tool_call_id": "a", "content": "noon"}]
    assert second.output_text == "Hello"
    listed = api.responses.input_items.list(second.id, order="asc").data
    assert [item.type for item in listed] == ["message", "message", "function_call", "function_call_output"]


def test_an_item_of_somebody_else_is_unknown(api: OpenAI, stack: Stack) -> None:
    with_other = Client(stack.url)
    first = with_other.http.post("/v1/responses", json={"model": PLAIN, "input": "Hello"}).json()
    for name in (first["output"][0]["id"], "msg_1", "fc_1", "x", "msg_"):
        with pytest.raises(NotFoundError) as refused:
            api.responses.create(model=PLAIN, input=[{"role": "user", "content": "Hi"}, {"type": "item_reference", "id": name}])
        assert (refused.value.param, name in refused.value.message) == ("input.1.id", True)
    with_other.close()


@pytest.mark.parametrize(
    ("path", "body", "param", "words"),
    [
        (
            "chat/completions",
            {"messages": [{"role": "user", "content": [WRONG_TEXT]}]},
            "messages.0.content.0.text",
            "string",
        ),
        ("chat/completions", {"stop": ["a"] * 5}, "stop", "at most 4"),
        ("chat/completions", {"audio": {"voice": "x"}}, "audio", "cannot be used here"),
        (
            "responses",
            {"input": [{"role": "user", "content": [WRONG_INPUT_TEXT]}]},
            "input.0.content.0.text",
            "string",
        ),
        ("responses", {"input": [{"type": "shell_call", "id": "x"}]}, "input.0.type", "shell_call"),
        ("responses", {"input": "x", "prompt": {"id": "p"}}, "prompt", "cannot be used here"),
    ],
)
def test_a_refusal_names_the_field_in_english(client: Client, path: str, body: dict[str, Any], param: str, words: str) -> None:
    messages = {"messages": [USER]} if path == "chat/completions" else {}
    answer = client.http.post(f"/v1/{path}", json={"model": PLAIN, **messages, **body})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text
    assert words in answer.json()["error"]["message"]
