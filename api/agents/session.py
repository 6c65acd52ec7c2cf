"""One agent's connection: its frames, the question it is at, and which replies count.

The protocol (ChatGPT-API-server's): text frames, one JSON object of three strings each, `{"id", "message", "data"}`; only the `id`
tells which reply belongs to what. Each question is a `ping`, and then a `ChatGptRequest`.
"""

import contextlib
import json
import queue
import threading
import time
import uuid
from collections import deque
from typing import NamedTuple

from api.agents.websocket import Closed, WebSocket
from api.http import go_json
from shared.agents.requests import ANSWER_FIELDS, REQUEST_FIELDS, Outcome, Trouble
from shared.ids import new_id

FRAME_FIELDS = ("id", "message", "data")
CONNECTION_ID = "Connection id"
PING = "ping"
REQUEST = "ChatGptRequest"
ERROR = "error"
MAX_ID_CHARS = 255
MAX_ERROR_CHARS = 500
MAX_SHOWN_CHARS = 10_000
"""How much is kept of an answer that cannot be read."""
SPENT_IDS = 256
"""How many of our ids are remembered, so that a late reply to one of them is known for what it is."""


class Frame(NamedTuple):
    """One message, in either direction."""

    id: str
    message: str
    data: str = ""

    @classmethod
    def read(cls, text: str | bytes) -> "Frame":
        """Read what an agent sent.

        Raises:
            ValueError: it is no such message.
        """
        return cls(**go_json.strings(text, FRAME_FIELDS, whole=False))

    def written(self) -> str:
        """Write what an agent is sent."""
        return json.dumps(self._asdict(), ensure_ascii=False, separators=(",", ":")) + "\n"


class Silence(Exception):
    """The agent said nothing in time."""


class Session:
    """An agent that is registered. One thread reads (`hear`), another may be asking (`ask`), one at a time.

    `ask_id` is the ask that it is at, `accepted_id` the same once its worker was told so. `heard_us` is when it last answered well,
    `used_us` when it was last asked (microseconds since 1970; 0: never); `left_out_at` is when it failed a ping (monotonic
    seconds), if it is left out for that.
    """

    def __init__(self, websocket: WebSocket, agent_id: str, token_id: str | None) -> None:
        """Begin; `token_id` is the agent token with which it came, None where it needed none."""
        self.websocket = websocket
        self.agent_id = agent_id
        self.token_id = token_id
        self.connection = new_id("sock")
        self.ask_id = ""
        self.accepted_id = ""
        self.heard_us = now_us()
        self.used_us = 0
        self.is_seated = False
        self.left_out_at: float | None = None
        self._lock = threading.Lock()
        self._spent: deque[str] = deque(maxlen=SPENT_IDS)
        self._replies: queue.Queue[Frame | Exception] | None = None

    def take(self, ask_id: str) -> bool:
        """Be at an ask from now on, if there is none yet."""
        with self._lock:
            is_free = not self.ask_id
            self.ask_id = self.ask_id or ask_id
        return is_free

    def let_go(self, ask_id: str) -> None:
        """Be at this ask no more."""
        with self._lock:
            if self.ask_id == ask_id:
                self.ask_id = self.accepted_id = ""

    def hear(self, text: str | bytes) -> None:
        """Take in what the agent says; what it says while nobody waits is dropped."""
        with self._lock:
            replies = self._replies
        if replies is None:
            return
        try:
            replies.put(Frame.read(text))
        except ValueError as error:
            replies.put(error)

    def end(self, closed: Closed) -> None:
        """Tell whoever waits that the agent is gone."""
        with self._lock:
            if self._replies is not None:
                self._replies.put(closed)

    def ask(self, request: dict[str, str], ping_seconds: float, answer_seconds: float) -> Outcome:
        """Ask the agent, and wait for what comes of it."""
        with self._lock:
            self._replies = queue.Queue()
        try:
            return self._ping(ping_seconds) or self._request(request, answer_seconds)
        finally:
            with self._lock:
                self._replies = None

    def _ping(self, seconds: float) -> Outcome | None:
        """See whether the agent is awake; None if it is."""
        ping = Frame(str(uuid.uuid4()), PING)
        try:
            pong = self._exchange(ping, seconds)
        except (Closed, Silence, ValueError) as error:
            return _ping_failed(str(error), has_left=isinstance(error, Closed))
        return None if pong.id == ping.id else _ping_failed("It answered something else.")

    def _request(self, request: dict[str, str], seconds: float) -> Outcome:
        data = json.dumps({name: request[name] for name in REQUEST_FIELDS}, ensure_ascii=False, separators=(",", ":"))
        question = Frame(str(uuid.uuid4()), REQUEST, data)
        try:
            self.websocket.send(question.written())
        except Closed as error:
            return Outcome(trouble=Trouble.SEND_FAILED, message=f"The question could not be sent: {error}", has_left=True)
        try:
            reply = self._reply(question.id, seconds)
        except (Closed, Silence, ValueError) as error:
            has_left = isinstance(error, Closed)
            message = f"The agent's answer could not be read: {error}"
            return Outcome(trouble=Trouble.READ_FAILED, message=message, details={"err": str(error)}, has_left=has_left)
        if reply.id != question.id:
            return Outcome(trouble=Trouble.WRONG_REPLY, message="The agent answered something else.")
        return _judged(reply)

    def _exchange(self, frame: Frame, seconds: float) -> Frame:
        self.websocket.send(frame.written())
        return self._reply(frame.id, seconds)

    def _reply(self, to: str, seconds: float) -> Frame:
        """Wait for the next frame that is no late reply to an id of ours; this id is such a one from then on, whatever came."""
        assert self._replies is not None
        until = time.monotonic() + seconds
        try:
            while (left_seconds := until - time.monotonic()) > 0:
                with contextlib.suppress(queue.Empty):
                    reply = self._replies.get(timeout=left_seconds)
                    if isinstance(reply, Exception):
                        raise reply
                    if reply.id not in self._spent:
                        return reply
            raise Silence(f"i/o timeout: nothing came in {seconds:g} s")
        finally:
            self._spent.append(to)


def _ping_failed(why: str, *, has_left: bool = False) -> Outcome:
    return Outcome(trouble=Trouble.PING_FAILED, message=f"The agent did not answer its ping: {why}", has_left=has_left)


def _judged(reply: Frame) -> Outcome:
    """Read the payload; what agents send instead of it when something went wrong is plain text."""
    try:
        return Outcome(answer=go_json.strings(reply.data, ANSWER_FIELDS, whole=True))
    except ValueError:
        said = reply.data.strip()[:MAX_ERROR_CHARS]
        shown = reply._replace(data=reply.data[:MAX_SHOWN_CHARS])
        message = f"The agent reported: {said}" if reply.message == ERROR and said else "The agent's answer could not be read."
        return Outcome(trouble=Trouble.BAD_ANSWER, message=message, details={"response": shown._asdict()})


def now_us() -> int:
    """Tell the time, in microseconds since 1970."""
    return time.time_ns() // 1000
