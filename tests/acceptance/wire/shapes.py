"""What providers send, one row for each shape, and what comes of it. Collected from public reports of bugs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson


def http(status: str, body: bytes, kind: str = "application/json", *more: str) -> bytes:
    """Write a response; the connection's end is the body's."""
    head = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", "Connection: close", *more]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def stream(*lines: bytes | str) -> bytes:
    """Write a stream as it is."""
    return http("200 OK", b"".join(line.encode() if isinstance(line, str) else line for line in lines), "text/event-stream")


def data(fields: Any) -> bytes:
    """Write an event."""
    return b"data: %b\n\n" % orjson.dumps(fields)


def choice(reason: str | None = None, **fields: Any) -> bytes:
    """Write a chunk with a choice of these fields."""
    return data({"choices": [{"index": 0, **fields, "finish_reason": reason}]})


def say(text: str, reason: str | None = None, **more: Any) -> bytes:
    """Write a chunk with a text."""
    return choice(reason, delta={"content": text, **more})


def call(reason: str | None = None, **piece: Any) -> bytes:
    """Write a chunk with the piece of a tool call: `name` and `arguments` are the function's."""
    function = {name: piece.pop(name) for name in ("name", "arguments") if name in piece}
    return choice(reason, delta={"tool_calls": [{**piece, "function": function}]})


def refusal(status: str, body: Any, *more: str) -> bytes:
    """Write an error as JSON."""
    return http(status, orjson.dumps(body), "application/json", *more)


DONE = "data: [DONE]\n\n"
END = choice("stop", delta={}) + DONE.encode()
CALLED = choice("tool_calls", delta={}) + DONE.encode()
NO = refusal("503 Service Unavailable", {"error": {"message": "Not now."}})
HELLO = stream(say("Hello"), END)


@dataclass(frozen=True)
class Answer:
    """What is made of it: the message, or part of it; its calls as (name, arguments); what is in each call besides; why it ended;
    how often it was asked.
    """

    content: str | None = "Hello"
    finish_reason: str = "stop"
    calls: tuple[tuple[str, str], ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict)
    beside_call: Mapping[str, Any] = field(default_factory=dict)
    tries: int = 1


@dataclass(frozen=True)
class Failure:
    """What is made of it: an HTTP status, a code, words in the message, and how often it was asked."""

    status: int
    code: str
    words: str
    tries: int = 1


WEATHER, TIME = ("get_weather", '{"city":"Rome"}'), ("get_time", "{}")
A, B = WEATHER[1][:8], WEATHER[1][8:]

SHAPES: dict[str, tuple[list[bytes], Answer | Failure]] = {
    # Tool calls
    "one index for two whole calls": (
        [
            stream(
                call(index=0, id="a", name="get_weather", arguments=WEATHER[1]),
                call(index=0, id="b", name="get_time", arguments="{}"),
                CALLED,
            )
        ],
        Answer(None, "tool_calls", (WEATHER, TIME)),
    ),
    "one index and no ids": (
        [stream(call(index=0, name="get_weather", arguments=WEATHER[1]), call(index=0, name="get_time", arguments="{}"), CALLED)],
        Answer(None, "tool_calls", (WEATHER, TIME)),
    ),
    "one function twice, without ids": (
        [stream(call(index=0, name="get_time", arguments="{}"), call(index=0, name="get_time", arguments="{}"), CALLED)],
        Answer(None, "tool_calls", (TIME, TIME)),
    ),
    "no index": (
        [
            stream(
                call(id="a", name="get_weather", arguments=A),
                call(arguments=B),
                call(id="b", name="get_time", arguments="{}"),
                CALLED,
            )
        ],
        Answer(None, "tool_calls", (WEATHER, TIME)),
    ),
    "calls by turns": (
        [
            stream(
                call(index=0, id="a", name="get_weather", arguments=A),
                call(index=1, id="b", name="get_time", arguments="{"),
                call(index=0, arguments=B),
                call(index=1, arguments="}"),
                CALLED,
            )
        ],
        Answer(None, "tool_calls", (WEATHER, TIME)),
    ),
    "the name in each piece": (
        [stream(*(call(index=0, id="a", name="get_weather", arguments=piece) for piece in ("", A, B)), CALLED)],
        Answer(None, "tool_calls", (WEATHER,)),
    ),
    "an id of its own for each piece": (
        [stream(call(index=0, id="a", name="get_weather", arguments=A), call(index=0, id="b", arguments=B), CALLED)],
        Answer(None, "tool_calls", (WEATHER,)),
    ),
    "the name in halves": (
        [stream(call(index=0, id="a", name="get_", arguments=""), call(index=0, name="weather", arguments=WEATHER[1]), CALLED)],
        Answer(None, "tool_calls", (WEATHER,)),
    ),
    "a name that comes late": (
        [
            stream(
                call(index=0, id="a", arguments=A),
                call(index=0, name="get_weather", arguments=""),
                call(index=0, arguments=B),
                CALLED,
            )
        ],
        Answer(None, "tool_calls", (WEATHER,)),
    ),
    "an empty id": ([stream(call(index=0, id="", name="get_time", arguments="{}"), CALLED)], Answer(None, "tool_calls", (TIME,))),
    "arguments as an object, and an index as text": (
        [stream(call(index="0", id="a", name="get_weather", arguments={"city": "Rome"}), CALLED)],
        Answer(None, "tool_calls", (WEATHER,)),
    ),
    "no arguments": ([stream(call(index=0, id="a", name="get_time"), CALLED)], Answer(None, "tool_calls", (("get_time", ""),))),
    "the whole call said again": (
        [stream(*[call(index=0, id="a", name="get_weather", arguments=WEATHER[1])] * 2, CALLED)],
        Answer(None, "tool_calls", (WEATHER,)),
    ),
    "a signed call": (
        [stream(call(index=0, id="a", name="get_time", arguments="{}", extra_content={"google": {"signature": "s"}}), CALLED)],
        Answer(None, "tool_calls", (TIME,), beside_call={"extra_content": {"google": {"signature": "s"}}}),
    ),
    # What is said beside text and calls
    "thoughts": (
        [stream(choice(delta={"reasoning_content": "h"}), choice(delta={"reasoning_content": "m"}), say("Hello"), END)],
        Answer(more={"reasoning_content": "hm"}),
    ),
    "signed thoughts": (
        [stream(choice(delta={"reasoning_details": [{"type": "x", "data": "1"}]}), say("Hello"), END)],
        Answer(more={"reasoning_details": [{"type": "x", "data": "1"}]}),
    ),
    "signed thoughts in equal pieces": (
        [stream(*[choice(delta={"reasoning_details": [{"type": "x", "text": "a"}]})] * 2, say("Hello"), END)],
        Answer(more={"reasoning_details": [{"type": "x", "text": "a"}] * 2}),
    ),
    "citations beside each chunk": (
        [
            stream(
                data({"choices": [{"delta": {"content": "Hel"}}], "citations": ["http://a"]}),
                data({"choices": [{"delta": {"content": "lo"}}], "citations": ["http://a", "http://b"]}),
                END,
            )
        ],
        Answer(more={"citations": ["http://a", "http://b"]}),
    ),
    # Failure or loss
    "an unknown reason to stop": ([stream(say("Hello", "error"), DONE), HELLO], Answer(tries=2)),
    "another word for length": ([stream(say("Hello", "MAX_TOKENS"), DONE)], Answer(finish_reason="length")),
    "another word for a filter": ([stream(say("Hello", "SAFETY"), DONE)], Answer(finish_reason="content_filter")),
    "an empty reason and the end": ([stream(say("Hel"), choice("", delta={})), HELLO], Answer(tries=2)),
    "nothing at first": ([stream(END), HELLO], Answer(tries=2)),
    "nothing at all": ([stream(END)], Failure(502, "provider_empty", "empty", tries=2)),
    "nothing but done": ([stream(DONE)], Failure(502, "provider_empty", "empty", tries=2)),
    "nothing, since it was cut": ([stream(choice("length", delta={}), DONE)], Answer(None, "length")),
    "message in place of delta": (
        [stream(choice(message={"role": "assistant", "content": "Hello"}), END)],
        Answer(),
    ),
    "text in place of delta": ([stream(choice(text="Hel"), choice(text="lo"), END)], Answer()),
    "a byte order mark": ([stream(b"\xef\xbb\xbf", say("Hello"), END)], Answer()),
    # Odd details
    "an emoji in two chunks": (
        [
            stream(
                'data: {"choices":[{"delta":{"content":"\\ud83d"}}]}\n\ndata: {"choices":[{"delta":{"content":"\\ude00"}}]}\n\n',
                END,
            )
        ],
        Answer("😀"),
    ),
    "half an emoji": ([stream('data: {"choices":[{"delta":{"content":"\\ude00 Hello"}}]}\n\n', END)], Answer("� Hello")),
    "content in parts": (
        [stream(choice(delta={"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Hello"}]}), END)],
        Answer(more={"reasoning_content": "hm"}),
    ),
    "no data, and pings": (
        [
            stream(
                "data:\n\n",
                "event: ping\n\n",
                "event: ping\ndata: now\n\n",
                'event: ping\ndata: {"type": "ping"}\n\n',
                say("Hello"),
                END,
            )
        ],
        Answer(),
    ),
    "comments": ([stream(": PROCESSING\n\n", say("Hel"), ":\n", say("lo"), END)], Answer()),
    "an odd usage": (
        [stream(say("Hello"), data({"choices": [], "usage": {"prompt_tokens": 3.0, "completion_tokens": None}}), END)],
        Answer(),
    ),
    "numbers that are none": (
        [stream('data: {"choices":[{"delta":{"content":"Hello"},"logprobs":{"x":-Infinity}}]}\n\n', END)],
        Answer(),
    ),
    "done without a reason": ([stream(say("Hello"), DONE)], Answer()),
    "calls and done without a reason": (
        [stream(call(index=0, id="a", name="get_time", arguments="{}"), DONE)],
        Answer(None, "tool_calls", (TIME,)),
    ),
    "line ends of three kinds": (
        [stream('data: {"choices":\r\ndata: [{"delta":{"content":"Hel"}}]}\r\n\r\n', say("lo").replace(b"\n", b"\r"), END)],
        Answer(),
    ),
    "no stream": (
        [
            refusal(
                "200 OK",
                {
                    "choices": [{"message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
                    "usage": {"prompt_tokens": 1, "completion_tokens": 1},
                },
            )
        ],
        Answer(),
    ),
    # The provider's words
    "an error as a success": (
        [refusal("200 OK", {"error": {"message": "Out of credit.", "code": "insufficient_quota"}})],
        Failure(502, "insufficient_quota", "Out of credit."),
    ),
    "an error that is an object": (
        [refusal("200 OK", {"object": "error", "message": "Too busy."})],
        Failure(502, "provider_error", "Too busy.", tries=3),
    ),
    "a detail": ([refusal("200 OK", {"detail": "Too busy."})], Failure(502, "provider_error", "Too busy.", tries=3)),
    "an event named error": (
        [stream('event: error\ndata: {"message": "Too busy."}\n\n')],
        Failure(502, "provider_error", "Too busy.", tries=3),
    ),
    "words named error": ([stream("event: error\ndata: Too busy.\n\n")], Failure(502, "provider_error", "Too busy.", tries=3)),
    "a list of errors": (
        [refusal("400 Bad Request", [{"error": {"code": 400, "message": "No such role.", "status": "INVALID_ARGUMENT"}}])],
        Failure(400, "provider_error", "No such role."),
    ),
    "a list of details": (
        [
            refusal(
                "422 Unprocessable Entity",
                {"detail": [{"loc": ["body", "top_k"], "msg": "Too small"}, {"loc": ["body", "n"], "msg": "No"}]},
            )
        ],
        Failure(422, "provider_error", "body.top_k: Too small; body.n: No"),
    ),
    "a message that is an object": (
        [refusal("400 Bad Request", {"error": {"message": {"detail": "Too long."}}})],
        Failure(400, "provider_error", "Too long."),
    ),
    "a page as a success": (
        [http("200 OK", b"<!DOCTYPE html><html><head><title>Log &amp; in</title></head><body>x</body></html>", "text/html")],
        Failure(502, "provider_malformed", "page in place of an answer: Log & in.", tries=3),
    ),
    "a page as a failure": (
        [http("502 Bad Gateway", b"<html><head><title>502 Bad\n Gateway</title></head></html>", "text/html")],
        Failure(502, "provider_error", "page in place of an answer: 502 Bad Gateway.", tries=3),
    ),
    "no more money": (
        [refusal("429 Too Many Requests", {"error": {"message": "Pay.", "code": "insufficient_quota"}})],
        Failure(429, "insufficient_quota", "Pay."),
    ),
    "too long": (
        [stream(data({"error": {"message": "Too long.", "code": "context_length_exceeded"}}))],
        Failure(502, "context_length_exceeded", "Too long."),
    ),
    "a status in the stream": (
        [stream(say("Hel"), data({"error": {"message": "No credit.", "code": 402}}))],
        Failure(502, "provider_error", "No credit."),
    ),
    # Statuses
    "a bad request": (
        [refusal("400 Bad Request", {"error": {"message": "No tools here.", "type": "invalid_request_error"}})],
        Failure(400, "provider_error", "No tools here."),
    ),
    "no such model": (
        [refusal("404 Not Found", {"error": {"message": "No such model.", "code": "model_not_found"}})],
        Failure(404, "model_not_found", "No such model."),
    ),
    "too large": (
        [refusal("413 Payload Too Large", {"error": {"message": "Too large."}})],
        Failure(413, "provider_error", "Too large."),
    ),
    "too many": (
        [refusal("429 Too Many Requests", {"error": {"message": "Slow down.", "code": "busy"}}, "Retry-After: 1")],
        Failure(429, "busy", "Slow down.", tries=3),
    ),
    "a bad key": (
        [refusal("401 Unauthorized", {"error": {"message": "Bad key.", "code": "invalid_api_key"}})],
        Failure(502, "invalid_api_key", "Bad key."),
    ),
    "a number for a code": (
        [refusal("500 Oops", {"error": {"message": "Oops.", "code": "500", "type": "server_error"}})],
        Failure(502, "server_error", "Oops.", tries=3),
    ),
    "the usage not to be asked": (
        [refusal("400 Bad Request", {"error": {"message": "Unknown field: stream_options"}}), HELLO],
        Answer(tries=2),
    ),
    "away for a while": ([NO, NO, NO, HELLO], Answer(tries=4)),
}

WAYS = ("whole", "streamed", "response", "job")
PLAIN, CALLING, OTHER = "plain", "calling", "other"
SURE, EMBEDDING, NO_VECTORS = "sure", "embedding", "no vectors"
A_SURE: dict[str, Any] = {"token": "Hel", "logprob": -0.1, "bytes": None, "top_logprobs": []}
B_SURE: dict[str, Any] = {**A_SURE, "token": "lo"}
VECTORS = {
    "object": "list",
    "model": EMBEDDING,
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -0.25]}],
    "usage": {"prompt_tokens": 2, "total_tokens": 2},
}
SCRIPTS = {
    **{f"{name}, {way}": sent for name, (sent, _) in SHAPES.items() for way in WAYS},
    PLAIN: [HELLO],
    OTHER: [HELLO],
    SURE: [
        stream(
            choice(delta={"content": "Hel"}, logprobs={"content": [A_SURE], "refusal": None}),
            choice(delta={"content": "lo"}, logprobs={"content": [B_SURE], "refusal": None}),
            choice("length", delta={}),
            data({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}),
            DONE,
        )
    ],
    EMBEDDING: [refusal("200 OK", VECTORS)],
    NO_VECTORS: [refusal("200 OK", {"detail": "No such input."})],
    CALLING: [
        stream(
            choice(delta={"reasoning_content": "hm"}),
            say("Let me see."),
            call(index=0, id="a", name="get_time", arguments="{}"),
            CALLED,
        ),
        HELLO,
    ],
}
"""The answers of each model: each shape for each way of reading it, and some for odd requests."""
