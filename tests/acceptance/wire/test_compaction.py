"""A long conversation is summed up, and goes on behind its summary."""

from typing import Any

from openai import OpenAI

from dev.testing.client import Client
from dev.testing.stack import Stack
from tests.acceptance.wire.shapes import NO_VECTORS, PLAIN
from tests.scripted_provider import ScriptedProvider


def post(client: Client, path: str, **body: Any) -> tuple[int, Any]:
    answer = client.http.post(f"/v1/{path}", json={"model": PLAIN, **body})
    return answer.status_code, answer.json()


def test_what_was_compacted_goes_on_behind_its_summary(client: Client, provider: ScriptedProvider) -> None:
    _, first = post(client, "responses", input="One")
    turns = [("user", "Two"), ("assistant", "Yes"), ("user", "Three")]
    asked = [{"role": role, "content": content} for role, content in turns]
    status, compacted = post(
        client, "responses/compact", input=asked, previous_response_id=first["id"], instructions="Be brief.", tools=[]
    )

    sent = provider.asked[PLAIN][-1]["messages"]
    assert (status, [message["role"] for message in sent]) == (
        200,
        ["system", "user", "assistant", "user", "assistant", "user", "user"],
    )
    assert "Sum up" in sent[-1]["content"]
    *of_user, summary = compacted["output"]
    assert [item["content"][0]["text"] for item in of_user] == ["One", "Two", "Three"]
    assert (compacted["object"], summary["type"]) == ("response.compaction", "compaction")
    assert "Hello" not in summary["encrypted_content"]
    assert compacted["usage"]["total_tokens"] > 0

    post(client, "responses", input=[*of_user, summary, {"role": "user", "content": "Four"}])
    contents = [message["content"] for message in provider.asked[PLAIN][-1]["messages"]]
    assert contents == ["One", "Two", "Three", "A summary of the conversation so far:\n\nHello", "Four"]


def test_the_sdk_reads_it(api: OpenAI) -> None:
    compacted = api.responses.compact(model=PLAIN, input="One")
    assert (compacted.object, compacted.output[-1].type) == ("response.compaction", "compaction")


def test_a_summary_is_its_users_own(client: Client, stack: Stack) -> None:
    _, compacted = post(client, "responses/compact", input="One")
    other = Client(stack.url)
    for wrong in (compacted["output"][-1], {"type": "compaction", "encrypted_content": "x"}):
        status, refused = post(other, "responses", input=[wrong, {"role": "user", "content": "Two"}])
        assert (status, refused["error"]["param"]) == (400, "input.0.encrypted_content")
    other.close()


def test_what_cannot_be_compacted_is_told(client: Client) -> None:
    status, refused = post(client, "responses/compact")
    assert (status, refused["error"]["param"]) == (400, "input")
    status, refused = post(client, "responses/compact", model=NO_VECTORS, input="One")
    assert (status, refused["error"]["message"]) == (502, "No such input.")
