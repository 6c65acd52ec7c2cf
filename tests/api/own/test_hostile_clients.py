"""What one stranger, or one user, does to an API process: others are still answered, and afterwards all is as it was."""

import itertools
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import httpx2
import pytest

from dev.testing.client import Client
from dev.testing.stack import Redis, Stack, running, wait_until

MAX_STREAMS = 5
ATTACK_SECONDS = 4.0
SENDERS = 4
FEW_ANSWERS = 10
"""What others get within four seconds of a process that is kept busy: about two, and a hundred where it is not."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, redis_server: Redis) -> Iterator[Stack]:
    """One API process and a worker."""
    folder = tmp_path_factory.mktemp("hostile")
    settings = {
        "MAX_STREAMS": str(MAX_STREAMS),
        "REGISTER_LIMIT": "6 per hour",
        "LOGIN_LIMIT": "3 per minute",
        "TRUSTED_PROXIES": "1",
    }
    with running(Stack(folder, redis_server.url, f"sqlite:///{folder / 'x.db'}", **settings)) as started:
        yield started


_addresses = (f"203.0.113.{number}" for number in itertools.count(1))


def account(stack: Stack, name: str, address: str, password: str = "a password of mine") -> int:
    body = {"username": name, "password": password}
    return httpx2.post(f"{stack.url}/auth/register", json=body, headers={"X-Forwarded-For": address}).status_code


def login(stack: Stack, name: str, address: str, password: str = "a password of mine") -> httpx2.Response:
    body = {"username": name, "password": password}
    return httpx2.post(f"{stack.url}/auth/login", json=body, headers={"X-Forwarded-For": address})


@pytest.fixture(scope="module")
def user(stack: Stack) -> Iterator[Client]:
    address = next(_addresses)
    assert account(stack, "somebody", address) == 201
    with Client(stack.url, login(stack, "somebody", address).json()["access_token"]) as client:
        yield client


def connected(stack: Stack) -> socket.socket:
    parts = urlsplit(stack.url)
    return socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30)


def answers_until(stack: Stack, stopped: threading.Event) -> int:
    """Ask for /healthz again and again until stopped, and return how often it was answered."""
    answers = 0
    with httpx2.Client(base_url=stack.url, timeout=30) as other:
        while not stopped.is_set():
            assert other.get("/healthz").status_code == 200
            answers += 1
            stopped.wait(0.02)
    return answers


def _sends(sender: socket.socket, data: bytes) -> bool:
    """Send data; return whether the server still takes it."""
    try:
        sender.sendall(data)
    except OSError:
        sender.close()
        return False
    return True


@pytest.mark.parametrize("head", ["GET /healthz", "POST /auth/login", "POST /v1/chat/completions"])
def test_a_body_of_one_byte_chunks_keeps_nobody_waiting(stack: Stack, head: str) -> None:
    stopped, answers = threading.Event(), []
    watch = threading.Thread(target=lambda: answers.append(answers_until(stack, stopped)))
    watch.start()
    begin = f"{head} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    senders: list[socket.socket] = []
    until = time.monotonic() + ATTACK_SECONDS
    while time.monotonic() < until:
        while len(senders) < SENDERS:
            senders.append(connected(stack))
            senders[-1].sendall(begin.encode())
        senders = [sender for sender in senders if _sends(sender, b"1\r\na\r\n" * 2000)]
    for sender in senders:
        sender.close()
    stopped.set()
    watch.join(60)
    assert answers
    assert answers[0] > FEW_ANSWERS


def test_a_body_that_never_ends_is_hung_up_on(stack: Stack) -> None:
    with connected(stack) as sender:
        sender.sendall(b"POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n{")
        assert b" 408 " in sender.recv(4096).partition(b"\r\n")[0]


def test_a_body_that_crawls_is_hung_up_on(stack: Stack) -> None:
    with connected(stack) as sender:
        sender.sendall(b"POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n{")
        sender.settimeout(0.5)
        for _ in range(60):
            try:
                answer = sender.recv(4096)
                break
            except TimeoutError:
                sender.sendall(b" ")
        assert b" 408 " in answer.partition(b"\r\n")[0]


@pytest.mark.parametrize("chunk", [b"zz\r\nabc\r\n", b"3\r\nabcdef\r\n0\r\n\r\n", b"-1\r\n"])
def test_broken_chunks_are_the_clients_error(stack: Stack, chunk: bytes) -> None:
    with connected(stack) as sender:
        head = b"POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        sender.sendall(head + chunk)
        assert b" 400 " in sender.recv(4096).partition(b"\r\n")[0]


def test_many_large_headers_are_refused(stack: Stack) -> None:
    with connected(stack) as sender:
        sender.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Large: " + b"a" * 9000 + b"\r\n\r\n")
        assert sender.recv(4096).partition(b"\r\n")[0].split()[1].startswith(b"4")


@pytest.mark.parametrize("path", ["/conversations/new", "/chat/process"])
def test_a_form_of_millions_of_fields_is_not_parsed(stack: Stack, user: Client, path: str) -> None:
    body = b"a&" * 1_000_000
    answer = user.http.post(path, content=body, headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert answer.status_code == 400
    assert "1000 fields" in answer.text


def test_a_stranger_makes_nobody_read_a_question(stack: Stack) -> None:
    with connected(stack) as sender:
        sender.sendall(b"POST /api/ask HTTP/1.1\r\nHost: x\r\nAuthorization: wrong\r\nContent-Length: 20000000\r\n\r\n")
        assert b" 401 " in sender.recv(4096).partition(b"\r\n")[0]


def test_accounts_from_one_address_are_bounded(stack: Stack) -> None:
    address = next(_addresses)
    made = [account(stack, f"one-of-many-{number}", address) for number in range(7)]
    assert made == [*[201] * 6, 429]
    of_one_network = [account(stack, f"six-{number}", f"2001:db8:1:2::{number}") for number in range(1, 8)]
    assert of_one_network == [*[201] * 6, 429]
    assert account(stack, "from-elsewhere", next(_addresses)) == 201


def test_a_stranger_locks_no_owner_out(stack: Stack) -> None:
    home, elsewhere = next(_addresses), next(_addresses)
    assert account(stack, "an-owner", home) == 201
    guesses = [login(stack, "an-owner", elsewhere, "a wrong guess").status_code for _ in range(4)]
    assert guesses == [401, 401, 401, 429]
    assert login(stack, "an-owner", home).status_code == 201


def test_a_path_does_not_move_by_a_header(stack: Stack) -> None:
    headers = {"SCRIPT_NAME": "/auth/register", "Script-Name": "/x"}
    assert httpx2.get(f"{stack.url}/healthz", headers=headers).status_code == 200


def test_a_users_streams_are_bounded_and_their_places_come_back(stack: Stack, user: Client) -> None:
    job = user.submit(model="demo?tokens=2000&gap_ms=20")["id"]
    with ExitStack() as held:
        streams = [held.enter_context(user.http.stream("GET", f"/jobs/{job}/events")) for _ in range(MAX_STREAMS)]
        for stream in streams:
            next(stream.iter_lines())
        refused = user.http.get(f"/jobs/{job}/events")
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_streams")
    wait_until(lambda: _is_streamed(user, job), "a place to be free again")
    user.http.post(f"/jobs/{job}/cancel")


def _is_streamed(user: Client, job: str) -> bool:
    with user.http.stream("GET", f"/jobs/{job}/events") as stream:
        return stream.status_code == 200


def test_where_registration_is_closed_nobody_registers(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> None:
    stack.start_web(REGISTRATION="closed")
    for path in ("/auth/register", "/auth/register/", "/auth/register%2f"):
        answer = httpx2.post(stack.urls[-1] + path, json={"username": "nobody", "password": "a password of mine"})
        assert answer.status_code in {403, 404}
    assert login(stack, "nobody", next(_addresses)).status_code == 401
