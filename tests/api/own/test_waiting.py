"""How many jobs of one user may wait."""

from dev.testing.client import Client
from tests.api.conftest import MOST_WAITING
from tests.api.site import Site
from tests.api.wire import assert_limited


def test_only_so_many_jobs_of_a_user_may_wait(waiter: Client, idle: Site) -> None:
    # Given as many waiting jobs as there may be
    jobs = [waiter.submit() for _ in range(MOST_WAITING)]
    traces = idle.traces()

    # Then one more is refused and leaves nothing behind; another user's is taken
    assert_limited(waiter.http.post("/jobs", json={"message": "Hello"}), code="too_many_queued_jobs")
    assert idle.traces() == traces
    idle.user().submit()

    # And there is room again when one is gone
    assert waiter.http.post(f"/jobs/{jobs[0]['id']}/cancel").status_code == 200
    waiter.submit()
