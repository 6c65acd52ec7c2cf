"""Chaos behind OpenAI's API: whatever dies in the middle of a background stream, the SDK resumes it, and the text is whole."""

import secrets
import time
from collections.abc import Iterator

import pytest

from dev.servers.postgres_server import PostgresServer
from dev.testing.client import counted
from dev.testing.stack import wait_until
from tests.acceptance import faults
from tests.acceptance.chaos import GAP_MS, TOKENS, Arena, Fault, arena
from tests.openai_reader import Reader, is_dense, sdk, text_of

READERS = 8
MODEL = f"demo?tokens={TOKENS}&gap_ms={2 * GAP_MS}&first_ms=100"
OPENING_EVENTS = 5
"""What comes before the first delta."""

FULL_SECONDS = 2.0


def fill_redis(chaos_arena: Arena) -> None:
    """Let Redis refuse to write for a while, as a full one does."""
    chaos_arena.redis.client.config_set("maxmemory", "1")
    time.sleep(FULL_SECONDS)  # the fault itself, not a wait for something
    chaos_arena.redis.client.config_set("maxmemory", "0")


def fail_over(chaos_arena: Arena) -> None:
    """Let Redis be read-only for a while, as in the middle of a fail-over."""
    chaos_arena.redis.client.execute_command("REPLICAOF", "127.0.0.1", "1")
    time.sleep(FULL_SECONDS)  # the fault itself, not a wait for something
    chaos_arena.redis.client.execute_command("REPLICAOF", "NO", "ONE")


FAULTS = {
    "every worker killed": faults.kill_every_worker,
    "a web process killed": faults.kill_a_web_process,
    "redis killed": faults.kill_redis,
    "redis emptied": faults.empty_redis,
    "redis full": fill_redis,
    "redis failing over": fail_over,
    "each message delivered twice": faults.ring_twice,
    "a worker paused past its lease": faults.pause_a_worker,
}


@pytest.fixture(scope="module")
def chaos_arena(tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer) -> Iterator[Arena]:
    with arena(tmp_path_factory.mktemp("openai-chaos"), postgres_server.create_database()) as made:
        yield made


def run(chaos_arena: Arena, fault: Fault) -> list[Reader]:
    """Let eight background responses stream, hurt them in the middle, and wait for their ends."""
    texts = [f"round {secrets.token_hex(8)}" for _ in range(READERS)]
    turns = [chaos_arena.stack.urls[place % 2 :] + chaos_arena.stack.urls[: place % 2] for place in range(READERS)]
    readers = [Reader(turn, chaos_arena.client.token, MODEL, text) for turn, text in zip(turns, texts, strict=True)]
    for reader in readers:
        reader.start()
    wait_until(lambda: all(len(reader.events) > OPENING_EVENTS + TOKENS // 4 for reader in readers), "every stream to flow")
    chaos_arena.jobs = [{"id": "job_" + reader.id.removeprefix("resp_")} for reader in readers]
    fault(chaos_arena)
    for reader in readers:
        reader.join(90)
    return readers


@pytest.mark.parametrize("name", FAULTS)
def test_a_background_stream_survives(chaos_arena: Arena, name: str) -> None:
    # When something dies in the middle of eight background streams
    readers = run(chaos_arena, FAULTS[name])

    # Then each ends with its whole text, and a later reader gets the very same events
    client = sdk(chaos_arena.stack.url, chaos_arena.client.token)
    for reader in readers:
        assert (reader.final["status"], text_of(reader.final)) == ("completed", counted(TOKENS))
        assert is_dense(reader.events)
        assert [event.to_dict() for event in client.responses.retrieve(reader.id, stream=True)] == reader.events
        assert client.responses.retrieve(reader.id).to_dict() == reader.final


def test_an_answer_that_a_dead_worker_began_goes_on_in_a_new_item(chaos_arena: Arena) -> None:
    readers = run(chaos_arena, faults.kill_every_worker)
    for reader in readers:
        done = [event["item"]["status"] for event in reader.events if event["type"] == "response.output_item.done"]
        assert done == ["incomplete", "completed"]
        assert len(reader.final["output"]) == 1
        assert reader.connections == 1
