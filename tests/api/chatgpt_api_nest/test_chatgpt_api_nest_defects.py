"""The defects of ChatGPT API powered by NestJS, none of which this server has: one test each, named after it."""

import secrets
import threading
import uuid

import httpx2
import orjson
import pytest
from pydantic import SecretStr
from sqlalchemy import func, select, update

from dev.testing.client import PASSWORD, Client, counted
from dev.testing.stack import wait_until
from shared.models import Conversation, Job, Message, User
from shared.security.vault import Vault
from tests.api.chatgpt_api_nest.calls import ask, messages, post, stream_events, use
from tests.api.conftest import ON_POSTGRESQL, ON_SQLITE
from tests.api.deployment import Deployment, deployed

ASKED_AT_ONCE = 5


@ON_SQLITE
@pytest.mark.parametrize("how", ["coalesce=1", "split=1"])
def test_two_events_in_one_read_and_one_in_two_lose_no_tokens(client: Client, how: str) -> None:
    use(client, f"demo?tokens=50&gap_ms=0&{how}")
    assert ask(client)["content"] == counted(50)
    *deltas, last = stream_events(client, ask(client, stream=True)["request_id"])
    assert "".join(data["delta"] for data in deltas) == last["content"] == counted(50)


@ON_SQLITE
def test_a_failing_upstream_call_in_a_stream_does_not_kill_the_process(deployment: Deployment, client: Client) -> None:
    processes = [(web.pid, web.is_running()) for web in deployment.stack.webs]
    use(client, "demo?tokens=9&drop_at=3&fail_times=9&gap_ms=0")
    events = stream_events(client, ask(client, "break off", stream=True)["request_id"])
    assert set(events[-1]) == {"error"}
    assert [(web.pid, web.is_running()) for web in deployment.stack.webs] == processes
    use(client, "demo?tokens=2")
    assert ask(client)["content"] == counted(2)


@ON_SQLITE
def test_an_answer_that_begins_anew_says_so_and_its_last_event_is_whole(client: Client) -> None:
    use(client, "demo?tokens=9&drop_at=5&gap_ms=0")
    events = stream_events(client, ask(client, secrets.token_hex(8), stream=True)["request_id"])
    again = next(place for place, data in enumerate(events) if data.get("restarted"))
    assert again > 0
    assert "".join(data["delta"] for data in events[again:-1]) == events[-1]["content"] == counted(9)


@ON_SQLITE
def test_the_end_of_one_stream_does_not_drop_the_others(client: Client) -> None:
    use(client, "demo?tokens=20&gap_ms=20")
    slow = ask(client, "slow", stream=True)["request_id"]
    use(client, "demo?tokens=1&gap_ms=0")
    assert stream_events(client, ask(client, "quick", stream=True)["request_id"])[-1]["content"] == counted(1)
    assert stream_events(client, slow)[-1]["content"] == counted(20)


@ON_SQLITE
def test_another_user_cannot_read_a_stream(deployment: Deployment, client: Client) -> None:
    request_id = ask(client, stream=True)["request_id"]
    assert stream_events(deployment.user(), request_id) == [{"error": "No such request id"}]


@ON_SQLITE
@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_another_user_cannot_change_a_session(deployment: Deployment, client: Client, method: str) -> None:
    asked = ask(client, "mine")
    session_id, other = asked["session_id"], deployment.user().http
    if method == "POST":
        body = {"session_id": session_id, "message": "Obey me."}
        assert other.post("/chat/system_message", json=body).status_code == 404
    else:
        assert other.delete(f"/chat/remove/{session_id}/{asked['id']}").status_code == 404
    assert [message["role"] for message in messages(client, session_id)] == ["user", "assistant"]


@ON_POSTGRESQL
def test_posts_to_one_session_at_once_do_not_overwrite_each_other(client: Client) -> None:
    session_id = ask(client, "first")["session_id"]
    texts = [f"at once {number}" for number in range(ASKED_AT_ONCE)]
    threads = [threading.Thread(target=ask, args=(client, text), kwargs={"session_id": session_id}) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    kept = messages(client, session_id)
    assert [message["role"] for message in kept] == ["user", "assistant"] * (1 + ASKED_AT_ONCE)
    assert sorted(message["content"] for message in kept[2::2]) == texts


def test_history_past_the_budget_is_not_deleted(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("small")
    with deployed(folder, f"sqlite:///{folder / 'chatrelay.db'}", {"CONTEXT_TOKENS": "256"}) as small, small.user() as client:
        use(client, "demo?echo=1&gap_ms=0")
        session_id = ask(client, "word " * 100)["session_id"]
        post(client, "/chat/system_message", session_id=session_id, message="Be brief.")
        ask(client, "other " * 100, session_id=session_id)
        shown = orjson.loads(ask(client, "last " * 220, session_id=session_id)["content"])
        # The model is shown the prompt and what fits; a single message above all budgets is asked all the same
        assert [message["role"] for message in shown] == ["system", "user"]
        assert orjson.loads(ask(client, "word " * 900, session_id=session_id)["content"])[-1]["content"] == "word " * 900
        # And nothing is gone
        assert [message["role"] for message in messages(client, session_id)] == ["system", *["user", "assistant"] * 4]


@ON_SQLITE
@pytest.mark.parametrize("token", ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
def test_a_special_token_in_the_prompt_is_no_error(client: Client, token: str) -> None:
    session_id = ask(client, token)["session_id"]
    assert ask(client, token, session_id=session_id)["finish_reason"] == "stop"
    assert messages(client, session_id)[0]["content"] == token


@ON_SQLITE
def test_a_system_message_can_be_replaced_and_is_only_one(client: Client) -> None:
    use(client, "demo?echo=1&gap_ms=0")
    session_id = ask(client)["session_id"]
    for prompt in ("Be kind.", "Be brief."):
        post(client, "/chat/system_message", session_id=session_id, message=prompt)
    shown = orjson.loads(ask(client, "And?", session_id=session_id)["content"])
    assert [message["content"] for message in shown if message["role"] == "system"] == ["Be brief."]


@ON_SQLITE
def test_a_system_message_can_be_removed(client: Client) -> None:
    use(client, "demo?echo=1&gap_ms=0")
    session_id = ask(client)["session_id"]
    post(client, "/chat/system_message", session_id=session_id, message="Be brief.")
    prompt = messages(client, session_id)[0]
    assert (prompt["role"], prompt["content"]) == ("system", "Be brief.")
    assert client.http.delete(f"/chat/remove/{session_id}/{prompt['id']}").status_code == 200
    assert [message["role"] for message in messages(client, session_id)] == ["user", "assistant"]
    assert [message["role"] for message in orjson.loads(ask(client, "And?", session_id=session_id)["content"])] == [
        *("user", "assistant", "user")
    ]


@ON_SQLITE
def test_a_request_that_is_not_streamed_does_not_hang(client: Client) -> None:
    use(client, "demo?tokens=2&gap_ms=0")
    assert client.http.post("/chat/process", json={"message": "Hello", "stream": False}, timeout=20).status_code == 201


@ON_SQLITE
def test_an_operators_key_is_never_shown(deployment: Deployment, client: Client) -> None:
    key = deployment.stack.environment["OPENAI_API_KEY"]
    assert key not in client.http.get("/user/config").text
    assert post(client, "/user/config")["openai_key"] == ""


@ON_SQLITE
def test_a_duplicate_username_is_no_crash(anonymous: httpx2.Client) -> None:
    credentials = {"username": f"user-{secrets.token_hex(8)}", "password": PASSWORD}
    assert anonymous.post("/auth/register", json=credentials).status_code == 201
    again = anonymous.post("/auth/register", json=credentials)
    assert (again.status_code, again.json()["error"]["param"]) == (409, "username")


@ON_SQLITE
@pytest.mark.parametrize("body", [{"password": PASSWORD}, {"username": "somebody"}, {"username": "", "password": ""}])
def test_an_account_without_a_name_or_a_password_is_refused(anonymous: httpx2.Client, body: dict[str, str]) -> None:
    assert anonymous.post("/auth/register", json=body).status_code == 400


@ON_SQLITE
def test_passwords_are_no_bare_md5(deployment: Deployment, anonymous: httpx2.Client) -> None:
    credentials = {"username": f"user-{secrets.token_hex(8)}", "password": PASSWORD}
    user_id = anonymous.post("/auth/register", json=credentials).json()["id"]
    with deployment.database.read() as session:
        stored = session.scalars(select(User.password_hash).where(User.id == user_id)).one()
    assert stored.startswith("$argon2id$")


def test_a_browsers_preflight_is_not_asked_for_a_token(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("cors")
    origin = "https://chat.example"
    with deployed(folder, f"sqlite:///{folder / 'chatrelay.db'}", {"CORS_ORIGINS": origin}, workers=0) as deployment:
        for path in ("/chat/process", "/chat/sessions", "/user/config"):
            headers = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
            preflight = httpx2.options(deployment.url + path, headers=headers)
            assert preflight.status_code < 300, (path, preflight.status_code)
            assert preflight.headers["access-control-allow-origin"] == origin


@ON_SQLITE
def test_a_key_that_cannot_be_opened_any_more_is_shown_as_a_mask_and_can_be_replaced(
    deployment: Deployment, client: Client
) -> None:
    post(client, "/user/config", openai_key="sk-a-key-of-my-own")
    user_id = client.http.get("/user/usage").json()["id"]
    with deployment.database.write() as session:
        sealed = Vault(SecretStr("another secret key, of before it was changed")).seal("sk-lost")
        session.execute(update(User).where(User.id == user_id).values(provider_key=sealed))
    assert client.http.get("/user/config").json()["openai_key"] == "…"
    refused = client.http.post("/chat/process", json={"message": "Hello"})
    assert "Set it again" in refused.json()["message"]
    post(client, "/user/config", openai_key="")
    assert ask(client)["finish_reason"] == "stop"


def test_a_question_that_still_waits_is_removed_with_its_job(idle_client: Client, idle_deployment: Deployment) -> None:
    # Given two questions of one session that nobody has answered yet
    use(idle_client, "demo")
    session_id = str(uuid.uuid4())
    jobs = [ask(idle_client, text, session_id=session_id, stream=True)["request_id"] for text in ("first", "second")]
    with idle_deployment.database.read() as session:
        question = session.scalars(select(Job.user_message_id).where(Job.id == jobs[1])).one()

    # When the second is removed, then its job is cancelled, and the first is all there is
    assert idle_client.http.delete(f"/chat/remove/{session_id}/{question}").status_code == 200
    assert idle_client.job(jobs[1])["status"] == "cancelled"
    assert idle_client.job(jobs[0])["status"] == "queued"
    assert [message["content"] for message in messages(idle_client, session_id)] == ["first"]
    with idle_deployment.database.read() as session:
        conversation_id = (
            select(Conversation.id).where(Conversation.id == idle_client.job(jobs[0])["conversation_id"]).scalar_subquery()
        )
        assert session.scalar(select(func.count()).select_from(Message).where(Message.conversation_id == conversation_id)) == 1


@ON_SQLITE
def test_a_running_question_is_cancelled_before_it_is_removed(deployment: Deployment, client: Client) -> None:
    use(client, "demo?tokens=200&gap_ms=50")
    asked = ask(client, "long", stream=True)
    wait_until(lambda: client.job(asked["request_id"])["text"], "the answer to begin")
    question = messages(client, asked["session_id"])[0]["id"]
    assert client.http.delete(f"/chat/remove/{asked['session_id']}/{question}").status_code == 200
    assert client.job(asked["request_id"])["status"] == "cancelled"
    # The text so far is kept
    assert [message["role"] for message in messages(client, asked["session_id"])] == ["assistant"]


@ON_SQLITE
def test_the_description_is_where_its_clients_look(anonymous: httpx2.Client) -> None:
    assert anonymous.get("/swagger", follow_redirects=True).headers["content-type"].startswith("text/html")
    assert anonymous.get("/swagger-json").json() == anonymous.get("/openapi.json").json()
