"""The built-in model in a process of its own, and ways to call it and to read its answers."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from tempfile import TemporaryFile
from typing import IO, Any, cast

import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from dev.paths import ROOT


class Server:
    """A model server in a process of its own, and ways to call it."""

    def __init__(self, errors: IO[str], arguments: tuple[str, ...]) -> None:
        command = [sys.executable, "-m", "dev.model", "--port", "0", *arguments]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert self.process.stdout is not None
        self.first_line = self.process.stdout.readline()
        self.url = next(word for word in self.first_line.split() if word.startswith("http"))
        self.port = int(self.url.rsplit(":", 1)[1].partition("/")[0])

    def http(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            connection.request(method, path, body)
            response = connection.getresponse()
            return response.status, json.loads(response.read())

    def stats(self) -> dict[str, Any]:
        stats: dict[str, Any] = self.http("GET", "/stats")[1]
        return stats

    def send_raw(self, model: str, text: str, *, stream: bool = True, version: str = "1.1") -> socket.socket:
        """Send a call over a bare socket, and return the socket."""
        body = json.dumps({"model": model, "stream": stream, "messages": [{"role": "user", "content": text}]})
        head = f"POST /v1/chat/completions HTTP/{version}\r\nHost: test\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        connection.sendall((head + body).encode())
        return connection

    def receive_raw(self, model: str, text: str, *, version: str = "1.1") -> bytes:
        """Send a call, and return all bytes of the answer."""
        with self.send_raw(model, text, version=version) as connection:
            return b"".join(iter(lambda: connection.recv(65536), b""))


@contextmanager
def running(*arguments: str) -> Iterator[Server]:
    """Start a server and end it; it must not have written anything to stderr."""
    with TemporaryFile("w+") as errors:
        server = Server(errors, arguments)
        with closing(cast("IO[str]", server.process.stdout)) as output:
            try:
                yield server
            finally:
                server.process.terminate()
                server.process.wait(timeout=10)
            errors.seek(0)
            assert (output.read(), errors.read()) == ("", "")


def message(role: str, content: Any) -> Any:
    return {"role": role, "content": content}


def whole(client: OpenAI, model: str, text: str, **options: Any) -> ChatCompletion:
    completion = client.chat.completions.create(model=model, messages=[message("user", text)], **options)
    assert isinstance(completion, ChatCompletion)
    return completion


def streamed(client: OpenAI, model: str, text: str, **options: Any) -> list[ChatCompletionChunk]:
    messages = options.pop("messages", [message("user", text)])
    with client.chat.completions.create(model=model, messages=messages, stream=True, **options) as stream:
        return list(stream)


def broken(client: OpenAI, model: str, text: str, error: type[Exception]) -> tuple[list[ChatCompletionChunk], Exception]:
    """Stream an answer that must end with this error; return the chunks before it, and the error."""
    received: list[ChatCompletionChunk] = []
    with (
        pytest.raises(error) as raised,
        client.chat.completions.create(model=model, messages=[message("user", text)], stream=True) as stream,
    ):
        received.extend(stream)
    return received, raised.value


def text_of(answer: ChatCompletion | list[ChatCompletionChunk]) -> str:
    if isinstance(answer, ChatCompletion):
        return answer.choices[0].message.content or ""
    return "".join(chunk.choices[0].delta.content or "" for chunk in answer if chunk.choices)


def finish_of(answer: ChatCompletion | list[ChatCompletionChunk]) -> str | None:
    if isinstance(answer, ChatCompletion):
        return answer.choices[0].finish_reason
    return next(chunk.choices[0].finish_reason for chunk in reversed(answer) if chunk.choices)


def wait_for(condition: Callable[[], Any], seconds: float = 5) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)
    return found


def frames(raw: bytes) -> list[bytes]:
    """Return what the server sent, one entry for each write: in HTTP/1.1 each is a frame of its own."""
    written, rest = [], raw.partition(b"\r\n\r\n")[2]
    while rest:
        length, _, rest = rest.partition(b"\r\n")
        written.append(rest[: int(length, 16)])
        rest = rest[int(length, 16) + 2 :]
    return written


def clocks_of(chunks: list[ChatCompletionChunk]) -> list[int]:
    """Return the clock of each chunk that has text."""
    return [chunk.choices[0].delta.clock for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]  # type: ignore[attr-defined]
