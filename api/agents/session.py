"""One agent's connection: its frames, the request that it works on, and which replies count.

The protocol (ChatGPT-API-server's): text frames, one JSON object of three strings each, `{"id", "message", "data"}`; only the `id`
says which reply belongs to what. Each request is a `ping`, and then a `ChatGptRequest`.
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
from shared.agents.requests import ANSWER_FIELDS, REQUEST_FIELDS, AgentResult
from shared.ids import new_id
from shared.models.error_codes import JobErrorCode

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
        """Return it as an agent is sent it."""
        return json.dumps(self._asdict(), ensure_ascii=False, separators=(",", ":")) + "\n"


class NoReply(Exception):
    """The agent sent nothing in time."""


class Session:
    """An agent that is connected. One thread reads (`receive`), another may be asking (`ask`), one at a time.

    `request_id` is the request that it works on ("": none), `has_accepted` whether its worker was notified of that. `answered_us`
    is when it last answered well, `used_us` when it was last sent a request (microseconds since 1970; 0: never). `is_registered`
    says that workers can find it; `quarantined_at` when it failed a ping (monotonic seconds), if it is quarantined for that.
    """

    def __init__(self, websocket: WebSocket, agent_id: str, token_id: str | None) -> None:
        """Begin idle; `token_id` is the agent token with which it came, None where it needed none."""
        self.websocket = websocket
        self.agent_id = agent_id
        self.token_id = token_id
        self.connection = new_id("sock")
        self.request_id = ""
        self.has_accepted = False
        self.answered_us = now_us()
        self.used_us = 0
        self.is_registered = False
        self.quarantined_at: float | None = None
        self._lock = threading.Lock()
        self._spent: deque[str] = deque(maxlen=SPENT_IDS)
        self._replies: queue.Queue[Frame | Exception] | None = None

    @property
    def accepted_id(self) -> str:
        """The request that it works on and whose worker knows it; "" if there is none."""
        with self._lock:
            return self.request_id if self.has_accepted else ""

    def begin(self, request_id: str) -> bool:
        """Work on a request from now on; return False if there is one already."""
        with self._lock:
            is_idle = not self.request_id
            self.request_id = self.request_id or request_id
        return is_idle

    def finish(self, request_id: str) -> None:
        """Work on this request no more."""
        with self._lock:
            if self.request_id == request_id:
                self.request_id = ""
                self.has_accepted = False

    def receive(self, text: str | bytes) -> None:
        """Take in what the agent sends; what comes while nobody waits for it is dropped."""
        with self._lock:
            replies = self._replies
        if replies is None:
            return
        try:
            replies.put(Frame.read(text))
        except ValueError as error:
            replies.put(error)

    def end(self, closed: Closed) -> None:
        """Wake the thread that waits for a reply: the agent is gone."""
        with self._lock:
            if self._replies is not None:
                self._replies.put(closed)

    def ask(self, request: dict[str, str], ping_seconds: float, answer_seconds: float) -> AgentResult:
        """Send the agent a request, and wait for the result."""
        with self._lock:
            self._replies = queue.Queue()
        try:
            return self._ping(ping_seconds) or self._request(request, answer_seconds)
        finally:
            with self._lock:
                self._replies = None

    def _ping(self, seconds: float) -> AgentResult | None:
        """Return why the agent cannot be asked; None if it answers its ping."""
        ping = Frame(str(uuid.uuid4()), PING)
        try:
            self.websocket.send(ping.written())
            pong = self._reply(ping.id, seconds)
        except (Closed, NoReply, ValueError) as error:
            return _ping_failed(str(error), has_left=isinstance(error, Closed))
        return None if pong.id == ping.id else _ping_failed("It answered something else.")

    def _request(self, request: dict[str, str], seconds: float) -> AgentResult:
        data = json.dumps({name: request[name] for name in REQUEST_FIELDS}, ensure_ascii=False, separators=(",", ":"))
        request_frame = Frame(str(uuid.uuid4()), REQUEST, data)
        try:
            self.websocket.send(request_frame.written())
        except Closed as error:
            return AgentResult(
                error=JobErrorCode.AGENT_SEND_FAILED, message=f"The question could not be sent: {error}", has_left=True
            )
        try:
            reply = self._reply(request_frame.id, seconds)
        except (Closed, NoReply, ValueError) as error:
            has_left = isinstance(error, Closed)
            message = f"The agent's answer could not be read: {error}"
            return AgentResult(
                error=JobErrorCode.AGENT_READ_FAILED, message=message, details={"err": str(error)}, has_left=has_left
            )
        if reply.id != request_frame.id:
            return AgentResult(error=JobErrorCode.AGENT_WRONG_REPLY, message="The agent answered something else.")
        return _read_answer(reply)

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
            raise NoReply(f"i/o timeout: nothing came in {seconds:g} s")
        finally:
            self._spent.append(to)


def _ping_failed(why: str, *, has_left: bool = False) -> AgentResult:
    return AgentResult(error=JobErrorCode.AGENT_PING_FAILED, message=f"The agent did not answer its ping: {why}", has_left=has_left)


def _read_answer(reply: Frame) -> AgentResult:
    """Read the payload; what agents send instead of it when something went wrong is plain text."""
    try:
        return AgentResult(answer=go_json.strings(reply.data, ANSWER_FIELDS, whole=True))
    except ValueError:
        error_text = reply.data.strip()[:MAX_ERROR_CHARS]
        shown = reply._replace(data=reply.data[:MAX_SHOWN_CHARS])
        is_report = reply.message == ERROR and error_text
        message = f"The agent reported: {error_text}" if is_report else "The agent's answer could not be read."
        return AgentResult(error=JobErrorCode.AGENT_BAD_ANSWER, message=message, details={"response": shown._asdict()})


def now_us() -> int:
    """Return the time, in microseconds since 1970."""
    return time.time_ns() // 1000
