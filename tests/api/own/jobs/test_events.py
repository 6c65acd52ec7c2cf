"""`GET /jobs/{id}/events`: a job's log as server-sent events, from any cursor, live or later."""

import time
from itertools import islice, pairwise
from typing import Any

import pytest

from dev.testing.client import Client, counted
from shared.redis import keyspace
from tests.api.conftest import ON_SQLITE
from tests.api.deployment import Deployment
from tests.api.event_stream import HEARTBEAT, event, events, events_of, open_stream
from tests.api.refusals import assert_refused

NOT_CURSORS = ["-1", "abc", "+1", "1.0", " 1", "0x1", "1_0", "9" * 30]
FULLWIDTH_ONE = "\uff11"
SMALL = "demo?tokens=5&first_ms=0&gap_ms=5"
LAST = 7
"""The last number of the small job: one event opens it, one ends it."""


def _path(job: dict[str, Any]) -> str:
    return f"/jobs/{job['id']}/events"


def _texts(seen: list[dict[str, Any]]) -> str:
    return "".join(each["delta"].get("content") or "" for each in seen if each["type"] == "delta")


@pytest.fixture(scope="module")
def shared_client(deployment: Deployment) -> Client:
    """One user for all that is read."""
    return deployment.user()


@pytest.fixture(scope="module")
def over(shared_client: Client) -> dict[str, Any]:
    """A small job that is over."""
    return _over(shared_client)


def _over(shared_client: Client) -> dict[str, Any]:
    job = shared_client.submit(model=SMALL)
    assert shared_client.finished(job["id"])["status"] == "completed"
    return job


def test_the_bytes_are_server_sent_events(shared_client: Client) -> None:
    # Given a job, read live as it runs
    job = shared_client.submit(model=SMALL)
    with open_stream(job["stream_url"]) as blocks:
        # Then there is one retry line, and each event is an id, a type and one line of JSON
        assert next(blocks) == b"retry: 500"
        assert [each["seq"] for each in events_of(blocks)] == list(range(1, LAST + 1))


def test_every_event_says_what_its_type_says(shared_client: Client) -> None:
    job = shared_client.submit(model=SMALL)
    whole = events(job["stream_url"])
    assert whole[0] == {"seq": 1, "type": "started", "attempt": 1, "model": SMALL}
    assert whole[1:-1] == [{"seq": 1 + n, "type": "delta", "delta": {"content": f"{n} "}} for n in range(1, 6)]
    usage = {"prompt_tokens": 4, "completion_tokens": 5, "total_tokens": 9, "estimated": False}
    assert whole[-1] == {"seq": LAST, "type": "completed", "finish_reason": "stop", "usage": usage}


@ON_SQLITE
def test_the_headers_keep_proxies_from_waiting(shared_client: Client, over: dict[str, Any]) -> None:
    answer = shared_client.http.get(_path(over))
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert "no-cache" in answer.headers["cache-control"]
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["x-request-id"]
    assert "content-encoding" not in answer.headers


@ON_SQLITE
def test_silence_is_broken_by_heartbeats(shared_client: Client) -> None:
    # Given a model that says nothing for two and a half heartbeats
    job = shared_client.submit(model="demo?tokens=2&first_ms=2500&gap_ms=0")
    with open_stream(job["stream_url"]) as blocks:
        kinds = ["beat" if block == HEARTBEAT else event(block)["type"] for block in list(blocks)[1:]]
    assert [kind for kind in kinds if kind != "beat"] == ["started", "delta", "delta", "completed"]
    assert kinds.count("beat") >= 2


@ON_SQLITE
def test_an_event_comes_when_it_happens(shared_client: Client) -> None:
    # Given a model that says a word every 200 ms, then no word waits for the next
    job = shared_client.submit(model="demo?tokens=10&first_ms=200&gap_ms=200")
    with open_stream(job["stream_url"]) as blocks:
        came = [time.monotonic() for block in blocks if block.startswith(b"id: ") and event(block)["type"] == "delta"]
    gaps = [later - earlier for earlier, later in pairwise(came)]
    assert len(gaps) == 9
    assert sorted(gaps)[4] > 0.05


@pytest.mark.parametrize("cursor", range(LAST))
def test_a_cursor_is_exclusive(shared_client: Client, over: dict[str, Any], cursor: int) -> None:
    whole = events(over["stream_url"])
    assert events(over["stream_url"] + f"&after={cursor}") == whole[cursor:]
    assert events(over["stream_url"], headers={"Last-Event-ID": str(cursor)}) == whole[cursor:]


@pytest.mark.parametrize("cursor", [LAST, LAST + 1, 10**17])
def test_after_the_end_there_is_nothing_and_never_will_be(shared_client: Client, over: dict[str, Any], cursor: int) -> None:
    for request in ({"params": {"after": str(cursor)}}, {"headers": {"Last-Event-ID": str(cursor)}}):
        answer = shared_client.http.get(_path(over), **request)  # type: ignore[arg-type]
        assert (answer.status_code, answer.content) == (204, b"")


def test_the_header_beats_the_query(shared_client: Client, over: dict[str, Any]) -> None:
    url = over["stream_url"] + "&after=2"
    assert [each["seq"] for each in events(url)] == [3, 4, 5, 6, 7]
    assert [each["seq"] for each in events(url, headers={"Last-Event-ID": "5"})] == [6, 7]
    assert [each["seq"] for each in events(over["stream_url"] + "&after=abc", headers={"Last-Event-ID": "5"})] == [6, 7]
    assert shared_client.http.get(_path(over), params={"after": "2"}, headers={"Last-Event-ID": str(LAST)}).status_code == 204


def test_a_polyfill_says_in_the_query_where_it_was(shared_client: Client, over: dict[str, Any]) -> None:
    url = over["stream_url"] + "&after=2&lastEventId="
    assert [each["seq"] for each in events(url + "4")] == [5, 6, 7]
    assert [each["seq"] for each in events(url)] == [3, 4, 5, 6, 7]
    assert [each["seq"] for each in events(url + "4", headers={"Last-Event-ID": "5"})] == [6, 7]
    assert_refused(shared_client.http.get(_path(over), params={"lastEventId": "abc"}), 400, param="lastEventId")


def test_an_empty_cursor_is_the_beginning(shared_client: Client, over: dict[str, Any]) -> None:
    whole = events(over["stream_url"])
    assert events(over["stream_url"] + "&after=") == whole
    assert events(over["stream_url"], headers={"Last-Event-ID": ""}) == whole
    assert events(over["stream_url"] + "&after=0") == events(over["stream_url"] + "&after=000") == whole


@ON_SQLITE
@pytest.mark.parametrize("cursor", [*NOT_CURSORS, FULLWIDTH_ONE, "\x00"])
def test_a_query_that_is_no_cursor_is_refused(shared_client: Client, over: dict[str, Any], cursor: str) -> None:
    assert_refused(shared_client.http.get(_path(over), params={"after": cursor}), 400, param="after")


@ON_SQLITE
@pytest.mark.parametrize("cursor", [*(cursor for cursor in NOT_CURSORS if cursor[0] != " "), FULLWIDTH_ONE])
def test_a_header_that_is_no_cursor_is_refused(shared_client: Client, over: dict[str, Any], cursor: str) -> None:
    answer = shared_client.http.get(_path(over), headers=[(b"Last-Event-ID", cursor.encode())])
    assert_refused(answer, 400, param="Last-Event-ID")


@ON_SQLITE
def test_an_unknown_question_is_refused(shared_client: Client, over: dict[str, Any]) -> None:
    assert_refused(shared_client.http.get(_path(over), params={"before": "1"}), 400, param="before")


def test_a_cursor_beyond_the_end_of_a_running_job_waits_for_the_end(shared_client: Client) -> None:
    # Given a running job and a reader who believes to have seen more than there is
    job = shared_client.submit(model="demo?tokens=10&first_ms=0&gap_ms=200")
    began = time.monotonic()
    seen = events(job["stream_url"] + "&after=1000")

    # Then the reader receives nothing, until the job is over
    assert seen == []
    assert time.monotonic() - began > 0.4
    assert shared_client.job(job["id"])["status"] == "completed"
    assert shared_client.http.get(_path(job), params={"after": "1000"}).status_code == 204


def test_a_reader_who_comes_in_the_middle_misses_nothing(shared_client: Client) -> None:
    job = shared_client.submit(model="demo?tokens=30&first_ms=0&gap_ms=20")
    with open_stream(job["stream_url"]) as blocks:
        assert next(blocks) == b"retry: 500"
        seen = list(islice(events_of(blocks), 10))
    rest = events(job["stream_url"] + f"&after={seen[-1]['seq']}")
    assert [each["seq"] for each in seen + rest] == list(range(1, 33))
    assert _texts(seen + rest) == counted(30)


def test_a_log_that_redis_has_forgotten_is_served_from_the_archive(shared_client: Client, deployment: Deployment) -> None:
    # Given what was read while the log was in Redis
    job = _over(shared_client)
    whole = events(job["stream_url"])
    status = shared_client.job(job["id"])

    # When Redis has forgotten it
    assert deployment.redis.client.delete(keyspace.log_key(job["id"])) == 1

    # Then every cursor gives what it gave before, and the status is what it was
    for cursor in range(LAST):
        assert events(job["stream_url"] + f"&after={cursor}") == whole[cursor:]
    assert shared_client.http.get(_path(job), params={"after": str(LAST)}).status_code == 204
    assert shared_client.job(job["id"]) == status


def test_a_log_that_redis_forgets_while_it_is_read_is_read_on(shared_client: Client, deployment: Deployment) -> None:
    job = shared_client.submit(model="demo?tokens=40&first_ms=0&gap_ms=30")
    with open_stream(job["stream_url"]) as blocks:
        assert next(blocks) == b"retry: 500"
        seen = list(islice(events_of(blocks), 10))
        deployment.redis.client.delete(keyspace.log_key(job["id"]))
        seen += events_of(blocks)
    assert [each["seq"] for each in seen] == list(range(1, 43))
    assert _texts(seen) == counted(40)
