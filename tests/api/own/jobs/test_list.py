"""`GET /jobs`: your own jobs, newest first, a page at a time."""

from typing import Any

import pytest

from dev.testing.client import Client
from tests.api.deployment import Deployment
from tests.api.refusals import assert_refused

JOBS = 7


@pytest.fixture(scope="module")
def owner(idle_deployment: Deployment) -> Client:
    """Somebody who has some jobs."""
    return idle_deployment.user()


@pytest.fixture(scope="module")
def job_ids(owner: Client) -> list[str]:
    """The owner's jobs, newest first; every third is cancelled."""
    submitted = [owner.submit(f"Job {number}")["id"] for number in range(JOBS)]
    for job_id in submitted[::3]:
        assert owner.http.post(f"/jobs/{job_id}/cancel").status_code == 200
    return submitted[::-1]


def _page(client: Client, **query: Any) -> dict[str, Any]:
    answer = client.http.get("/jobs", params=query)
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    assert list(page) == ["object", "data", "has_more", "first_id", "last_id"]
    assert page["object"] == "list"
    ids = _ids(page)
    assert (page["first_id"], page["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))
    return page


def _ids(page: dict[str, Any]) -> list[str]:
    return [job["id"] for job in page["data"]]


def test_the_newest_comes_first(owner: Client, job_ids: list[str]) -> None:
    page = _page(owner)
    assert _ids(page) == job_ids
    assert page["has_more"] is False


def test_a_listed_job_looks_as_it_does_alone(owner: Client, job_ids: list[str]) -> None:
    for job in _page(owner)["data"]:
        assert job == owner.job(job["id"])


@pytest.mark.parametrize("limit", [1, 2, 3, JOBS])
def test_pages_follow_one_another(owner: Client, job_ids: list[str], limit: int) -> None:
    page = _page(owner, limit=limit)
    seen = _ids(page)
    while page["has_more"] and len(seen) < JOBS:
        assert len(page["data"]) == limit
        page = _page(owner, limit=limit, after=page["last_id"])
        seen += _ids(page)
    assert seen == job_ids
    assert page["has_more"] is False


def test_a_new_job_does_not_shift_the_next_page(idle_deployment: Deployment) -> None:
    client = idle_deployment.user()
    before = [client.submit()["id"] for _ in range(4)][::-1]
    page = _page(client, limit=2)
    client.submit()
    assert _ids(page) + _ids(_page(client, limit=2, after=page["last_id"])) == before


def test_behind_the_last_there_is_nothing(owner: Client, job_ids: list[str]) -> None:
    page = _page(owner, after=job_ids[-1])
    assert (page["data"], page["has_more"]) == ([], False)


def test_a_status_can_be_asked_for(owner: Client, job_ids: list[str]) -> None:
    cancelled = job_ids[::-1][::3][::-1]
    assert _ids(_page(owner, status="cancelled")) == cancelled
    assert _ids(_page(owner, status="queued")) == [job_id for job_id in job_ids if job_id not in cancelled]
    assert _ids(_page(owner, status="completed")) == []
    assert _ids(_page(owner, status="cancelled", limit=1, after=cancelled[0])) == cancelled[1:2]


def test_others_jobs_are_not_there(idle_client: Client, job_ids: list[str]) -> None:
    assert _ids(_page(idle_client)) == []
    own = idle_client.submit()["id"]
    assert _ids(_page(idle_client)) == [own]


@pytest.mark.parametrize(
    ("param", "value"),
    [
        *(("limit", wrong) for wrong in ("0", "-1", "101", "ten", "", "1.5", "9" * 30)),
        ("status", "done"),
        ("status", ""),
        ("before", "x"),
        ("after", "\x00"),
    ],
)
def test_a_bad_question_is_refused(owner: Client, param: str, value: str) -> None:
    assert_refused(owner.http.get("/jobs", params={param: value}), 400, param=param)


def test_a_page_behind_no_job_of_yours_is_unknown(idle_client: Client, job_ids: list[str]) -> None:
    refusals = [
        assert_refused(idle_client.http.get("/jobs", params={"after": job_id}), 404) for job_id in (job_ids[0], "job_" + "0" * 32)
    ]
    assert refusals[0] == refusals[1]
    assert refusals[0]["param"] == "after"
