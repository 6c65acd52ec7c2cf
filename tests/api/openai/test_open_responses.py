"""What the Open Responses specification's own checker asks of a server, judged by the specification's schemas."""

from typing import Any

import orjson
import pytest

from dev.testing.client import Client
from tests.api.conftest import ON_SQLITE
from tests.open_responses import check_event, check_response

PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TOOL = {
    "type": "function",
    "name": "get_weather",
    "description": "Tell the weather of a place.",
    "parameters": {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]},
}


def says(role: str, content: Any) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": content}


ASKED: dict[str, dict[str, Any]] = {
    "a text": {"input": [says("user", "Say hello in exactly 3 words.")]},
    "a system prompt": {"input": [says("system", "You are a pirate."), says("user", "Say hello.")]},
    "a tool call": {"input": [says("user", "What is the weather in Rome?")], "tools": [TOOL]},
    "an image": {
        "input": [says("user", [{"type": "input_text", "text": "What is this?"}, {"type": "input_image", "image_url": PIXEL}])]
    },
    "several turns": {"input": [says("user", "I am Alice."), says("assistant", "Hello Alice!"), says("user", "Who am I?")]},
}

pytestmark = ON_SQLITE


@pytest.mark.parametrize("name", ASKED)
def test_a_whole_response(client: Client, name: str) -> None:
    answer = client.http.post("/v1/responses", json={"model": "demo", **ASKED[name]})
    assert answer.status_code == 200, answer.text
    response = answer.json()
    check_response(response)
    assert response["status"] == "completed"
    assert [item["type"] for item in response["output"]] == ["function_call" if name == "a tool call" else "message"]


@pytest.mark.parametrize("name", ASKED)
def test_a_streamed_response(client: Client, name: str) -> None:
    answer = client.http.post("/v1/responses", json={"model": "demo", "stream": True, **ASKED[name]})
    assert answer.headers["content-type"].startswith("text/event-stream")
    *frames, done, rest = answer.content.replace(b": keep-alive\n", b"").split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    events = []
    for frame in frames:
        called, data = frame.split(b"\n")
        events.append(orjson.loads(data.removeprefix(b"data: ")))
        assert called == b"event: " + events[-1]["type"].encode()
        check_event(events[-1])
    assert events[-1]["type"] == "response.completed"
    if name == "a tool call":
        types = [event["type"] for event in events]
        assert {"response.function_call_arguments.delta", "response.function_call_arguments.done"} <= set(types)
