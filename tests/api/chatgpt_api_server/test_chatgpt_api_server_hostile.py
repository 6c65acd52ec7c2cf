"""Agents and callers that mean harm, or are broken: what they do hurts nobody else, and holds up nothing."""

import json
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx2
import psycopg
import pytest
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage

from dev.testing.agent import Agent
from dev.testing.stack import wait_until
from shared.postgresql import LIMITS
from tests.api.agent_client import ADMIN_KEY, ANSWER_SECONDS, SLACK_SECONDS, AgentClient
from tests.raw_agent import RawAgent

MIB = 1024 * 1024
MAX_MESSAGE_BYTES = 16 * MIB
MASK = b"\0\0\0\0"
TEXT = 0x81
ENDLESS = struct.pack("!BBQ", TEXT, 0xFF, 2**62) + MASK
"""The head of a frame that claims to be longer than anything."""


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


@pytest.fixture
def raw(agent_client: AgentClient) -> Callable[..., RawAgent]:
    """Connects agents that speak in bytes."""

    def connect(agent_id: str | None = None) -> RawAgent:
        agent = agent_client.ends.enter_context(RawAgent(agent_client.url, ADMIN_KEY, agent_id))
        wait_until(lambda: not agent.id or agent.id in agent_client.agent_ids(), "the agent to be there")
        return agent

    return connect


def _error(answering: "Future[httpx2.Response]") -> Any:
    response = answering.result(30)
    assert response.status_code == 500, response.text
    return response.json()


# What is no frame


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\xff\xff\xff\xff", 1002),
        (b"\x81\x01a", 1002),
        (b"\x81\x81" + MASK + b"\xff", 1007),
        (b"\x83\x80" + MASK, 1002),
        (b"\x09\x80" + MASK, 1002),
        (b"\x80\x80" + MASK, 1002),
        (b"\x88\x81" + MASK + b"a", 1002),
        (struct.pack("!BBQ", TEXT, 0xFF, 2**63) + MASK, 1002),
    ],
    ids=["rubbish", "unmasked", "no UTF-8", "unknown opcode", "ping in parts", "part of nothing", "half a code", "negative length"],
)
def test_what_is_no_frame_is_told_and_ends_the_connection(
    agent_client: AgentClient, raw: Callable[..., RawAgent], threads: ThreadPoolExecutor, data: bytes, code: int
) -> None:
    # In the middle of an answer
    agent = raw()
    answering = threads.submit(agent_client.ask)
    agent.receive_request()
    agent.write(data)
    answer = _error(answering)
    assert answer["error"] == "Failed to read response from the client"
    assert answer["err"].startswith(f"websocket: close {code}")
    assert agent.closed() in {code, 0}
    # Instead of a greeting, and of a pong
    greeting = raw("")
    greeting.receive()
    greeting.write(data)
    assert greeting.closed() in {code, 0}
    again = raw()
    answering = threads.submit(agent_client.ask)
    again.receive("ping")
    again.write(data)
    assert answering.result().json() == {"error": "No available clients"}
    agent_client.wait_for_no_agent()


@pytest.mark.parametrize(
    "greeting", ["", "[]", "5", '"text"', '{"id": 5}', '{"id": ["a"]}', "{", "[" * 100_000, '{"id": ' + "9" * 10_000 + "}"]
)
def test_a_greeting_that_is_no_message(agent_client: AgentClient, raw: Callable[..., RawAgent], greeting: str) -> None:
    agent = raw("")
    agent.receive()
    agent.send(TextMessage(greeting))
    assert agent.closed() == 1007
    assert agent_client.agent_ids() == []


@pytest.mark.parametrize("greeting", ["null", "{}", '{"message": "anything", "more": [1]} and more', '{"ID": "", "data": null}'])
def test_a_greeting_without_an_id_is_the_empty_one(agent_client: AgentClient, raw: Callable[..., RawAgent], greeting: str) -> None:
    agent = raw("")
    agent.receive()
    agent.send(BytesMessage(greeting.encode()))
    wait_until(lambda: agent_client.agent_ids() == [""], "the agent to be there")


# What is too large, too small, too slow, too much


def test_a_message_that_is_too_large(agent_client: AgentClient, raw: Callable[..., RawAgent], threads: ThreadPoolExecutor) -> None:
    agent = raw()
    answering = threads.submit(agent_client.ask)
    agent.receive_request()
    flood = threads.submit(_write_all, agent, ENDLESS + b"a" * (MAX_MESSAGE_BYTES + MIB))
    assert _error(answering)["err"] == "websocket: close 1009: read limit exceeded"
    flood.result(30)
    agent_client.wait_for_no_agent()


def _write_all(agent: RawAgent, data: bytes) -> None:
    try:
        agent.write(data)
    except OSError:
        return  # it was cut off


def test_an_answer_as_large_as_may_be(agent_client: AgentClient, raw: Callable[..., RawAgent], threads: ThreadPoolExecutor) -> None:
    agent = raw()
    answering = threads.submit(agent_client.answer)
    question = agent.receive_request()
    agent.answer(question, content="a" * (4 * MIB))
    assert len(answering.result()["content"]) == 4 * MIB


def test_an_answer_in_parts_of_one_byte(
    agent_client: AgentClient, raw: Callable[..., RawAgent], threads: ThreadPoolExecutor
) -> None:
    agent = raw()
    answering = threads.submit(agent_client.answer)
    question = agent.receive_request()
    payload = json.dumps({"content": "in small pieces ü", "conversation_id": "c"}, ensure_ascii=False)
    text = json.dumps({"id": question["id"], "data": payload}, ensure_ascii=False)
    parts = [TextMessage(character, message_finished=False) for character in text]
    for index, part in enumerate([*parts, TextMessage("")]):
        agent.send(part)
        if index % 10 == 0:
            agent.send(Ping(b"between"), TextMessage("", message_finished=False))
    assert answering.result()["content"] == "in small pieces ü"


def test_an_agent_that_says_a_byte_now_and_then(
    agent_client: AgentClient, raw: Callable[..., RawAgent], threads: ThreadPoolExecutor
) -> None:
    agent = raw()
    began = time.monotonic()
    answering = threads.submit(agent_client.ask)
    question = agent.receive_request()
    late = agent.frames.send(agent.message(question["id"], "ChatGptResponse", '{"content": "late"}'))
    sent = 0
    while not answering.done():
        agent.write(late[sent : sent + 1])
        sent += 1
        time.sleep(0.1)
    # It is given up in time, whatever it sends meanwhile
    assert _error(answering)["err"] == "i/o timeout: nothing came in 3 s"
    assert time.monotonic() - began < ANSWER_SECONDS + SLACK_SECONDS
    # And may answer the next question, once it has sent all of its answer
    agent.write(late[sent:])
    answering = threads.submit(agent_client.ask)
    agent.answer(agent.receive_request(), content="in time")
    assert answering.result().json()["content"] == "in time"


@pytest.mark.parametrize("kind", ["messages", "pings", "parts"])
def test_an_agent_that_never_pauses(
    agent_client: AgentClient, raw: Callable[..., RawAgent], nobody: httpx2.Client, kind: str
) -> None:
    agent, good = raw(), agent_client.agent()
    flooding = {
        "messages": agent.message("unasked", "hello"),
        "pings": Ping(b"a"),
        "parts": TextMessage("", message_finished=False),
    }[kind]
    data = agent.frames.send(flooding) * 2_000
    is_enough = threading.Event()

    def flood() -> None:
        agent.socket.settimeout(0.1)
        while not is_enough.is_set():
            try:
                agent.socket.send(data)
            except TimeoutError:
                continue
            except OSError:
                return

    flooding_thread = threading.Thread(target=flood)
    flooding_thread.start()
    try:
        # Others are answered meanwhile
        until = time.monotonic() + 2
        while time.monotonic() < until:
            began = time.monotonic()
            assert nobody.get("/health").status_code == 200
            assert time.monotonic() - began < 3
        assert good.id in agent_client.agent_ids()
        began = time.monotonic()
        answers = [agent_client.ask() for _ in range(2)]
        assert time.monotonic() - began < 2 * (ANSWER_SECONDS + SLACK_SECONDS)
        assert good.id in {answer.json().get("content", "").split(" ")[0] for answer in answers}
    finally:
        is_enough.set()
        flooding_thread.join()


# Agents that answer what they were not asked


def test_an_agent_that_answers_twice(agent_client: AgentClient, raw: Callable[..., RawAgent], threads: ThreadPoolExecutor) -> None:
    agent = raw()
    for number in range(3):
        answering = threads.submit(agent_client.answer)
        ping = agent.receive("ping")["id"]
        agent.send_message(ping, "pong")
        agent.send_message(ping, "pong")
        question = agent.receive("ChatGptRequest")
        agent.answer(question, content=f"first {number}")
        agent.answer(question, content=f"second {number}")
        assert answering.result()["content"] == f"first {number}"


def test_an_agent_that_answers_anothers_question(
    agent_client: AgentClient, raw: Callable[..., RawAgent], threads: ThreadPoolExecutor
) -> None:
    agents = [raw(), raw()]
    answering = [threads.submit(agent_client.ask, f"question {number}") for number in range(2)]
    questions = [agent.receive_request() for agent in agents]
    # One answers what the other was asked: that is its own error, and nobody else's
    agents[1].answer(questions[0], content="forged")
    agents[0].answer(questions[0], content="true")
    answers = {response.result().status_code: response.result().json() for response in answering}
    assert answers[200]["content"] == "true"
    assert answers[500] == {"error": "Failed to find response from the client"}
    # While it is asked nothing its messages are dropped
    agents[1].answer(questions[0], content="forged again")
    again = threads.submit(agent_client.answer)
    agents[0].answer(agents[0].receive_request(), content="true again")
    assert again.result()["content"] == "true again"


def test_only_the_id_decides_what_a_reply_belongs_to(
    agent_client: AgentClient, raw: Callable[..., RawAgent], threads: ThreadPoolExecutor
) -> None:
    agent = raw()
    answering = threads.submit(agent_client.answer)
    agent.send_message(agent.receive("ping")["id"], "ChatGptResponse", "whatever")
    question = agent.receive("ChatGptRequest")
    answer = {"id": question["id"], "message": "error", "data": '{"content": "good"}', "error": {}, "more": [1]}
    agent.send(TextMessage(json.dumps(answer)))
    assert answering.result()["content"] == "good"


def test_an_answer_right_before_a_close_counts(
    agent_client: AgentClient, raw: Callable[..., RawAgent], threads: ThreadPoolExecutor
) -> None:
    agent = raw()
    answering = threads.submit(agent_client.answer)
    question = agent.receive_request()
    agent.send(agent.message(question["id"], "", '{"content": "the last words"}'), CloseConnection(1000))
    assert answering.result()["content"] == "the last words"
    agent_client.wait_for_no_agent()


def test_an_agent_that_leaves_with_its_pong(
    agent_client: AgentClient, raw: Callable[..., RawAgent], threads: ThreadPoolExecutor
) -> None:
    agent = raw()
    answering = threads.submit(agent_client.ask)
    agent.send(agent.message(agent.receive("ping")["id"], "pong"), CloseConnection(1000))
    assert _error(answering) == {"error": "Failed to send request to the client"}
    agent_client.wait_for_no_agent()


def test_an_agent_that_resets_its_connection(
    agent_client: AgentClient, raw: Callable[..., RawAgent], threads: ThreadPoolExecutor
) -> None:
    # Alone: the error comes at once
    agent = raw()
    answering = threads.submit(agent_client.ask)
    agent.receive_request()
    began = time.monotonic()
    agent.reset()
    answer = _error(answering)
    assert (answer["error"], answer["err"][:22]) == ("Failed to read response from the client", "websocket: close 1006 ")
    assert time.monotonic() - began < ANSWER_SECONDS + SLACK_SECONDS
    agent_client.wait_for_no_agent()
    # With another beside it: that one answers
    agent, other = raw(), agent_client.agent()
    answering = threads.submit(agent_client.ask)
    try:
        agent.socket.settimeout(0.5)
        agent.receive_request()
        agent.reset()
    except TimeoutError:
        pass  # the other was asked at once
    assert answering.result().json()["content"] == f"{other.id} received Hello"


# Whose id it is


def test_an_id_that_is_taken_in_the_middle_of_an_answer(
    agent_client: AgentClient, raw: Callable[..., RawAgent], threads: ThreadPoolExecutor
) -> None:
    older = raw()
    conversation = threads.submit(agent_client.answer)
    older.answer(older.receive_request(), content="a", conversation_id="c", response_id="r")
    assert conversation.result()["conversation_id"] == "c"
    # Where the conversation goes on, the question is lost with the connection
    answering = threads.submit(agent_client.ask, conversation_id="c")
    older.receive_request()
    newer = raw(older.id)
    assert _error(answering)["error"] == "Failed to read response from the client"
    assert older.closed() == 1000
    # Where it begins, any agent that is connected now is asked
    answering = threads.submit(agent_client.ask)
    newer.receive_request()
    newest = Agent(agent_client.url, token=ADMIN_KEY, agent_id=older.id)
    agent_client.ends.enter_context(newest)
    assert answering.result().json()["content"] == f"{older.id} received Hello"
    assert agent_client.agent_ids() == [older.id]


def test_many_that_fight_for_one_id(agent_client: AgentClient, threads: ThreadPoolExecutor) -> None:
    agents = list(threads.map(lambda _: Agent(agent_client.url, token=ADMIN_KEY, agent_id="one"), range(16)))
    for agent in agents:
        agent_client.ends.enter_context(agent)
    wait_until(lambda: sum(not agent.is_over for agent in agents) == 1, "all but one to be sent away")
    assert agent_client.agent_ids() == ["one"]
    assert agent_client.answer()["content"] == "one received Hello"


# What they say


@pytest.mark.parametrize(
    "payload",
    [
        {"content": "nul \0", "response_id": "r\0", "conversation_id": "c\0"},
        {"content": "half \ud800 a character", "response_id": "\udfff", "conversation_id": "\ud800"},
        {"content": "long ids", "response_id": "r" * 100_000, "conversation_id": "c" * 100_000, "id": "i" * 100_000},
        {"content": "</script>", "conversation_id": "' OR 1=1 --", "response_id": "../../etc"},
    ],
    ids=["nul", "half", "long", "quotes"],
)
def test_answers_that_no_database_likes(
    agent_client: AgentClient, raw: Callable[..., RawAgent], threads: ThreadPoolExecutor, payload: dict[str, str]
) -> None:
    agent = raw()
    answering = threads.submit(agent_client.answer)
    agent.answer(agent.receive_request(), **payload)
    answer = answering.result()
    # By the ids that it sends, the conversation can be continued
    answering = threads.submit(agent_client.answer, conversation_id=answer["conversation_id"], parent_id=answer["response_id"])
    question = agent.receive_request()
    assert json.loads(question["data"])["conversation_id"]
    agent.answer(question, content="more", conversation_id=payload["conversation_id"])
    assert answering.result()["content"] == "more"


def test_two_conversations_that_agents_call_alike(
    agent_client: AgentClient, raw: Callable[..., RawAgent], threads: ThreadPoolExecutor
) -> None:
    agents = [raw("a"), raw("b")]
    names = []
    for agent, content in zip(agents, ("one", "two"), strict=True):
        answering = threads.submit(agent_client.answer, content)
        agent.answer(agent.receive_request(), content=content, conversation_id="same", response_id=content)
        names.append(answering.result()["conversation_id"])
    assert names[0] == "same" != names[1]
    # Each goes on with its own agent
    for agent, name, content in zip(agents, names, ("one", "two"), strict=True):
        answering = threads.submit(agent_client.answer, "more", conversation_id=name)
        question = agent.receive_request()
        assert json.loads(question["data"])["parent_id"] == content
        agent.answer(question, content="more", conversation_id="same", response_id="later")
        assert answering.result()["conversation_id"] == name


@pytest.mark.parametrize("odd", ["nul \0", "half \ud800", "a" * 100_000, "' OR 1=1 --", "\u202e"])
def test_questions_that_no_database_likes(agent_client: AgentClient, odd: str) -> None:
    agent = agent_client.agent()

    def ask(**ids: str) -> httpx2.Response:
        return agent_client.user.post("/api/ask", content=json.dumps({"content": odd, **ids}))

    first = ask(message_id=odd, parent_id=odd)
    assert first.status_code == 200
    again = ask(conversation_id=first.json()["conversation_id"], message_id=odd, parent_id=odd)
    assert again.status_code == 200
    assert len(agent.requests) == 2
    assert ask(conversation_id=odd).json() == {"error": "Conversation doesn't exists"}


def test_an_answer_that_comes_while_the_database_is_too_busy(
    agent_client: AgentClient, raw: Callable[..., RawAgent], threads: ThreadPoolExecutor
) -> None:
    if agent_client.deployment.database.is_sqlite:
        pytest.skip("a reader of SQLite waits for nobody")
    agent = raw()
    answering = threads.submit(agent_client.answer)
    question = agent.receive_request()
    # Given names of conversations that cannot be read for longer than a statement may take
    address = agent_client.deployment.database.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(address) as connection:
        connection.execute("LOCK TABLE conversation_names")
        agent.answer(question, content="patience", conversation_id="patience")
        time.sleep(LIMITS.statement_ms / 1000 + 1)
        assert not answering.done()
    assert answering.result()["conversation_id"] == "patience"
