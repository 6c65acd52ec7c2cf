"""A model that costs almost nothing: a raw asyncio server with streamed chat completions, for benchmarks of what stands before it.

    python -m bench.servers.stand_in --port 8091

The model's name says what it answers: `stand-in?tokens=3&gap_ms=5&first_ms=50`. Each token carries the moment at which it is sent
(`clock`: nanoseconds of the machine's monotonic clock); with `text=clock` that is its text, for gateways that pass on nothing
else. Any API key is good.
"""

import argparse
import asyncio
import time
from collections.abc import Callable
from typing import cast
from urllib.parse import parse_qsl

import orjson
import uvloop

HEAD_END = b"\r\n\r\n"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
STOP = b'{"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'
USAGE = (
    b'{"id":"c","object":"chat.completion.chunk","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":%d,"total_tokens":%d}}'
)
CLOCK_TOKEN = b'{"id":"c","object":"chat.completion.chunk","created":1,"choices":[{"index":0,"delta":{"content":"%d "}}]}'
TOKEN = b'{"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"%d ","clock":%d}}]}'


class Connection(asyncio.Protocol):
    """One kept-alive connection; requests come one after another."""

    def __init__(self) -> None:
        """Begin with nothing received."""
        self._received = b""
        self._transport: asyncio.WriteTransport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._token: Callable[[int], bytes] = _token

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's does not derive from it

    def connection_lost(self, _: Exception | None) -> None:
        """Stop answering."""
        if self._timer:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Answer each request that is whole."""
        self._received += data
        head, separator, rest = self._received.partition(HEAD_END)
        if not separator:
            return
        size = _content_length(head)
        if len(rest) < size:
            return
        body, self._received = rest[:size], rest[size:]
        if head.startswith(b"POST"):
            self._answer(orjson.loads(body))
        else:
            self._send_json(b'{"object":"list","data":[{"id":"stand-in","object":"model","created":0,"owned_by":"bench"}]}')

    def _send_json(self, body: bytes) -> None:
        assert self._transport
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
        self._transport.write(head + body)

    def _answer(self, request: dict[str, object]) -> None:
        options = dict(parse_qsl(str(request["model"]).partition("?")[2]))
        self._token = _clock_token if options.get("text") == "clock" else _token
        tokens, gap_s = int(options.get("tokens", 1)), float(options.get("gap_ms", 0)) / 1000
        first_s = float(options.get("first_ms", 0)) / 1000
        if not request.get("stream"):
            self._send_json(
                b'{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant",'
                b'"content":"1 "},"finish_reason":"stop"}]}'
            )
        elif first_s or (gap_s and tokens > 1):
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(first_s, self._tick, 1, tokens, loop.time() + first_s, gap_s)
        else:
            self._end(b"".join(_event(self._token(number)) for number in range(1, tokens + 1)), tokens, is_first=True)

    def _tick(self, number: int, tokens: int, due: float, gap_s: float) -> None:
        assert self._transport
        event = _event(self._token(number))
        if number == tokens:
            self._end(event, tokens, is_first=number == 1)
            return
        self._transport.write(STREAM_HEAD + event if number == 1 else event)
        self._timer = asyncio.get_running_loop().call_at(due + gap_s, self._tick, number + 1, tokens, due + gap_s, gap_s)

    def _end(self, before: bytes, tokens: int, *, is_first: bool) -> None:
        assert self._transport
        self._timer = None
        tail = _event(STOP) + _event(USAGE % (tokens, tokens + 1)) + _event(b"[DONE]") + b"0\r\n\r\n"
        self._transport.write((STREAM_HEAD if is_first else b"") + before + tail)


def _token(number: int) -> bytes:
    return TOKEN % (number, time.monotonic_ns())


def _clock_token(_number: int) -> bytes:
    return CLOCK_TOKEN % time.monotonic_ns()


def _event(data: bytes) -> bytes:
    """Return an SSE event as a chunk of HTTP/1.1."""
    return b"%x\r\ndata: %b\n\n\r\n" % (len(data) + 8, data)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8091)
    uvloop.run(_serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
