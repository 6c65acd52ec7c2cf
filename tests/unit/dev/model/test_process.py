"""The built-in model as a process: clients that leave, its counters, its port, its end."""

import signal
import subprocess
import sys
import time

import openai
import pytest
from openai import OpenAI

from dev.paths import ROOT
from dev.testing.client import counted
from tests.unit.dev.model.server import Server, broken, message, running, streamed, text_of, wait_for


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        "tokens=5&first_ms=60000",
        "tokens=5&first_ms=0&gap_ms=60000",
        "tokens=1000000&first_ms=0&gap_ms=1",
        "tokens=5&first_ms=0&gap_ms=0&stall_at=3",
        "tokens=5&first_ms=0&gap_ms=1&stall_at=0",
    ],
)
def test_a_client_that_leaves_is_noticed_at_once(server: Server, text: str, options: str, stream: bool) -> None:
    before = server.stats()
    connection = server.send_raw(f"demo?{options}", text, stream=stream)
    wait_for(lambda: server.stats()["open_streams"] == before["open_streams"] + 1)
    time.sleep(0.05)  # into the silence
    left_ns = time.monotonic_ns()
    connection.close()
    noticed_ns = wait_for(lambda: dict(server.stats()["disconnect_clock"]).get(f"demo?{options}|{text}"))
    assert 0 < (noticed_ns - left_ns) / 1e6 < 5_000  # and not at the next chunk, which comes in a minute or never
    after = server.stats()
    assert after["open_streams"] == before["open_streams"]
    assert after["disconnects"] == before["disconnects"] + 1
    assert after["completed"] == before["completed"]


def test_a_client_that_leaves_a_flood_is_noticed(server: Server, text: str) -> None:
    model = "demo?tokens=1000000&first_ms=0&gap_ms=0"
    for _ in range(5):  # sooner or later the server writes before it notices
        with server.send_raw(model, text) as connection:
            assert connection.recv(65536)
    wait_for(lambda: [key for key, _ in server.stats()["disconnect_clock"]].count(f"{model}|{text}") == 5)


def test_a_stall_sends_what_came_before_and_then_nothing(client: OpenAI, text: str) -> None:
    model = "demo?tokens=5&first_ms=0&gap_ms=1&stall_at=3"
    impatient = client.with_options(timeout=2)
    received, _ = broken(impatient, model, text, openai.APITimeoutError)
    assert text_of(received) == counted(3)
    assert text_of(streamed(client, model, text)) == counted(5)


def test_the_sdk_closing_its_stream_is_a_disconnect(server: Server, client: OpenAI, text: str) -> None:
    model = "demo?tokens=1000&first_ms=0&gap_ms=20"
    with client.chat.completions.create(model=model, messages=[message("user", text)], stream=True) as stream:
        next(iter(stream))
    wait_for(lambda: f"{model}|{text}" in dict(server.stats()["disconnect_clock"]))


def test_stats_count_calls_and_can_be_reset(text: str) -> None:
    with running() as server:
        for _ in range(2):
            server.receive_raw("demo?tokens=1&first_ms=0&fail=500", text)
        wait_for(lambda: server.stats()["completed"] == 1)
        long_text = text + "x" * 300
        with server.send_raw("demo?first_ms=60000", long_text):
            wait_for(lambda: server.stats()["open_streams"] == 1)
            stats = server.stats()
            assert (stats["requests"], stats["disconnects"]) == (3, 0)
            expected = {f"demo?tokens=1&first_ms=0&fail=500|{text}": 2, f"demo?first_ms=60000|{long_text[:200]}": 1}
            assert stats["by_key"] == expected
            assert server.http("POST", "/stats/reset")[0] == 200
            empty = {"requests": 0, "completed": 0, "disconnects": 0, "by_key": {}, "disconnect_clock": []}
            assert server.stats() == {**empty, "open_streams": 1}
        assert b" 500 " in server.receive_raw("demo?tokens=1&first_ms=0&fail=500", text)


def test_a_taken_port_is_one_clear_line(server: Server) -> None:
    command = [sys.executable, "-m", "dev.model", "--port", str(server.port)]
    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=10, check=False)
    assert second.returncode == 1
    assert second.stdout == ""
    assert len(second.stderr.splitlines()) == 1
    assert str(server.port) in second.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_at_once_even_with_open_streams(number: signal.Signals) -> None:
    with running() as server:
        assert server.first_line.count("\n") == 1
        options = ("first_ms=60000", "tokens=1000000&first_ms=0&gap_ms=1", "tokens=1&first_ms=0&stall_at=1")
        connections = [server.send_raw(f"demo?{option}", "Hi") for option in options]
        wait_for(lambda: server.stats()["open_streams"] == len(connections))
        started = time.monotonic()
        server.process.send_signal(number)
        assert server.process.wait(timeout=10) == 0
        assert time.monotonic() - started < 8
        for connection in connections:
            connection.close()
