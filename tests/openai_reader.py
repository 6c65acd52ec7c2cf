"""A reader of background responses like users of the official SDK: cut off, it comes back with the last number."""

import threading
import time
from collections.abc import Sequence
from typing import Any

import httpx2
from openai import APIError, OpenAI

TERMINAL = frozenset({"response.completed", "response.failed", "response.cancelled", "response.incomplete"})
AGAIN_SECONDS = 0.1
READ_SECONDS = 30.0


def sdk(url: str, token: str, **more: Any) -> OpenAI:
    """Make the official SDK's client, pointed here."""
    return OpenAI(base_url=f"{url}/v1", api_key=token, **{"max_retries": 0, "timeout": READ_SECONDS, **more})


class Reader(threading.Thread):
    """Creates a background response and reads it to its end, at one API process after the other."""

    def __init__(self, urls: Sequence[str], token: str, model: str, asked: str, seconds: float = 90.0) -> None:
        """Prepare; `start` reads. It gives up after `seconds`."""
        super().__init__(daemon=True)
        self.events: list[dict[str, Any]] = []
        self.connections = 0
        self._clients = [sdk(url, token) for url in urls]
        self._model = model
        self._asked = asked
        self._until = time.monotonic() + seconds

    @property
    def id(self) -> str:
        """The response's id."""
        found: str = self.events[0]["response"]["id"]
        return found

    @property
    def is_over(self) -> bool:
        """Whether the terminal event was seen."""
        return bool(self.events) and self.events[-1]["type"] in TERMINAL

    @property
    def final(self) -> dict[str, Any]:
        """The response that the terminal event carries."""
        assert self.is_over, [event["type"] for event in self.events[-3:]]
        response: dict[str, Any] = self.events[-1]["response"]
        return response

    def run(self) -> None:
        """Read, and come back, until it is over."""
        while not self.is_over and time.monotonic() < self._until:
            client = self._clients[self.connections % len(self._clients)]
            self.connections += 1
            try:
                self._read(client)
            except (APIError, httpx2.HTTPError):
                time.sleep(AGAIN_SECONDS)

    def _read(self, client: OpenAI) -> None:
        if self.events:
            last = self.events[-1]["sequence_number"]
            stream = client.responses.retrieve(self.id, stream=True, starting_after=last)
        else:
            stream = client.responses.create(model=self._model, input=self._asked, background=True, stream=True)
        for event in stream:
            self.events.append(event.to_dict())


def text_of(response: dict[str, Any]) -> str:
    """Put a response's text together as the SDK's `output_text` does."""
    parts = [part for item in response["output"] if item["type"] == "message" for part in item["content"]]
    return "".join(part["text"] for part in parts if part["type"] == "output_text")


def is_dense(events: Sequence[dict[str, Any]]) -> bool:
    """Whether the numbers are 0, 1, 2, … without a gap."""
    return [event["sequence_number"] for event in events] == list(range(len(events)))
