"""The main job: submit, read live, late and resumed, from any API process, whichever worker produced it."""

import asyncio
import random
from datetime import datetime

import aiohttp
import pytest

from dev.testing.client import Client, Reading, counted, read
from dev.testing.stack import Stack

JOBS_AT_ONCE = 200


def test_every_cursor_gives_the_same_events(client: Client) -> None:
    # Given a job of 60 counted tokens, read live
    job = client.submit(model="demo?tokens=60&gap_ms=10")
    live = client.events(job["id"])
    assert live.text == counted(60)
    live.assert_dense()

    # Then a late joiner sees what the live reader saw, and so does a reader that resumes at any cursor
    assert client.events(job["id"]).events == live.events
    for cursor in range(len(live.events)):
        assert client.events(job["id"], after=cursor).events == live.events[cursor:]

    # And at the end there is nothing more to come
    assert client.http.get(f"/jobs/{job['id']}/events", params={"after": len(live.events)}).status_code == 204
    assert client.finished(job["id"])["text"] == live.text


def test_resuming_at_every_event_while_it_runs(client: Client) -> None:
    job = client.submit(model="demo?tokens=60&gap_ms=10")
    reading = asyncio.run(read(client.url, job["id"], client.token, leave_at=range(1, 62)))
    assert reading.text == counted(60)
    reading.assert_dense()


@pytest.mark.parametrize("model", ["demo?tokens=40&gap_ms=20", "demo?tokens=40&gap_ms=0"])
def test_many_jobs_many_readers(client: Client, stack: Stack, model: str) -> None:
    # Given 200 jobs at once, each read by two clients through different API processes, one of which comes and goes
    jobs = [client.submit(model=model)["id"] for _ in range(JOBS_AT_ONCE)]
    readings = asyncio.run(_read_all(stack.urls, jobs, client.token, tokens=40))

    # Then every reader has every token once
    assert len(readings) == 2 * JOBS_AT_ONCE
    for reading in readings:
        assert reading.text == counted(40)
        reading.assert_dense()


def test_a_long_burst_without_any_gap(client: Client, stack: Stack) -> None:
    jobs = [client.submit(model="demo?tokens=2000&gap_ms=0")["id"] for _ in range(4)]
    for reading in asyncio.run(_read_all(stack.urls, jobs, client.token, tokens=2000)):
        assert reading.text == counted(2000)
        reading.assert_dense()


async def _read_all(urls: list[str], jobs: list[str], token: str, *, tokens: int) -> list[Reading]:
    chance = random.Random(7)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session:
        faithful = [read(urls[0], job, token, session=session) for job in jobs]
        fickle = [read(urls[::-1], job, token, session=session, leave_at=chance.sample(range(1, tokens), 3)) for job in jobs]
        return list(await asyncio.gather(*faithful, *fickle))


def test_any_api_process_streams_what_any_worker_produces(client: Client, stack: Stack) -> None:
    jobs = [client.submit(model="demo?tokens=20&gap_ms=10")["id"] for _ in range(40)]
    for url in stack.urls:
        for job in jobs:
            assert asyncio.run(read(url, job, client.token)).text == counted(20)
    claims = [worker.log().count("job.claimed") for worker in stack.workers]
    assert all(claims), claims


def test_a_conversation_remembers_and_answers_in_turn(client: Client) -> None:
    # Given three turns of one conversation, submitted without waiting
    first = client.submit("My name is Ann.", model="demo?tokens=20&gap_ms=20")
    turn = {"conversation_id": first["conversation_id"]}
    second = client.submit("What is it?", model="demo?echo=1", **turn)
    third = client.submit("Sure?", model="demo?echo=1", **turn)

    # Then each is answered after the one before, and shown what was said
    ends = [client.finished(job["id"]) for job in (first, second, third)]
    moments = [datetime.fromisoformat(end[name]) for end in ends for name in ("started_at", "finished_at")]
    assert moments == sorted(moments)
    assert "My name is Ann." in ends[1]["text"]
    assert counted(20).strip() in ends[1]["text"]
    assert "What is it?" in ends[2]["text"]
