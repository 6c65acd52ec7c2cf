"""API tokens: made, told once, listed masked, revoked; and what else counts as a token."""

import pytest
from sqlalchemy import select

from dev.testing.client import Client
from shared.models import ApiToken, User
from tests.api.conftest import ON_SQLITE
from tests.api.deployment import Deployment
from tests.api.refusals import assert_refused

pytestmark = ON_SQLITE


def made(client: Client, name: str = "") -> dict[str, str]:
    response = client.http.post("/auth/tokens", json={"name": name})
    assert response.status_code == 201, response.text
    token: dict[str, str] = response.json()
    return token


def test_a_token_speaks_for_its_user_wherever_an_access_token_does(client: Client, deployment: Deployment) -> None:
    job = client.submit(model="demo?tokens=2")
    with Client(deployment.url, made(client)["secret"]) as by_token:
        assert by_token.finished(job["id"])["text"] == "1 2 "
        assert by_token.submit()["id"]
        assert by_token.http.get("/auth/tokens").status_code == 200


def test_a_token_is_told_once_and_kept_as_a_hash(client: Client, deployment: Deployment) -> None:
    token = made(client, "my laptop")
    assert token["secret"].startswith("cr_")
    listed = client.http.get("/auth/tokens").json()
    assert listed == {"object": "list", "data": [{name: token[name] for name in ("id", "name", "token", "created_at")}]}
    assert token["name"] == "my laptop"
    assert token["secret"] not in str(listed)
    with deployment.database.read() as session:
        row = session.scalar(select(ApiToken).where(ApiToken.id == token["id"]))
        assert row is not None
        assert token["secret"] not in str(vars(row))


def test_a_revoked_token_is_worthless_at_once(client: Client, deployment: Deployment) -> None:
    token = made(client)
    with Client(deployment.url, token["secret"]) as by_token:
        assert by_token.http.get("/jobs").status_code == 200
        assert client.http.delete(f"/auth/tokens/{token['id']}").status_code == 204
        assert_refused(by_token.http.get("/jobs"), 401, code="unauthorized")
    assert_refused(client.http.delete(f"/auth/tokens/{token['id']}"), 404, param="token_id")


def test_anothers_token_is_unknown(client: Client, deployment: Deployment) -> None:
    token = made(client)
    stranger = deployment.user()
    assert stranger.http.get("/auth/tokens").json()["data"] == []
    assert_refused(stranger.http.delete(f"/auth/tokens/{token['id']}"), 404, param="token_id")
    assert client.http.get("/auth/tokens").json()["data"] != []


@pytest.mark.parametrize("token", ["cr_", "cr_nobody's"])
def test_a_token_of_nobodys_is_refused(deployment: Deployment, token: str) -> None:
    with Client(deployment.url, "x") as nobody:
        assert_refused(nobody.http.get("/jobs", headers={"Authorization": f"Bearer {token}"}), 401, code="unauthorized")


@pytest.mark.parametrize(("body", "param"), [({"name": "x" * 65}, "name"), ({"name": 1}, "name"), ({"nam": ""}, "nam")])
def test_a_wrong_request_is_refused_by_name(client: Client, body: dict[str, object], param: str) -> None:
    assert_refused(client.http.post("/auth/tokens", json=body), 400, param=param)


def test_nobody_is_the_operator_where_no_admin_key_is_set(deployment: Deployment) -> None:
    with Client(deployment.url, "x") as somebody:
        for header in ("Bearer", "Bearer None", "Bearer the operator"):
            assert_refused(somebody.http.get("/jobs", headers={"Authorization": header}), 401)


def test_nobody_logs_in_as_a_user_without_a_password(deployment: Deployment, client: Client) -> None:
    with deployment.database.read() as session:
        username = session.scalar(select(User.username).where(User.password_hash == ""))
    for password in ("", "x"):
        refused = client.http.post("/auth/login", json={"username": username, "password": password})
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_credentials")
