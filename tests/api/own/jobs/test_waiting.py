"""How many jobs of one user may wait."""

from dev.testing.client import Client
from tests.api.conftest import MAX_WAITING
from tests.api.deployment import Deployment
from tests.api.refusals import assert_limited


def test_only_so_many_jobs_of_a_user_may_wait(idle_client: Client, idle_deployment: Deployment) -> None:
    # Given as many waiting jobs as there may be
    jobs = [idle_client.submit() for _ in range(MAX_WAITING)]
    traces = idle_deployment.traces()

    # Then one more is refused and leaves nothing behind; another user's is taken
    assert_limited(idle_client.http.post("/jobs", json={"message": "Hello"}), code="too_many_queued_jobs")
    assert idle_deployment.traces() == traces
    idle_deployment.user().submit()

    # And there is room again when one is gone
    assert idle_client.http.post(f"/jobs/{jobs[0]['id']}/cancel").status_code == 200
    idle_client.submit()
