"""What stands between a job and its model: moderation, a user's own key, and images that not every model sees."""

from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from pydantic import SecretStr
from sqlalchemy import select, update

from dev.model.server import BAD_API_KEY
from dev.testing.client import Client
from dev.testing.stack import SECRET_KEY
from shared.models import Message, User
from shared.security.vault import Vault
from tests.api.deployment import Deployment, deployed

QUICK = "demo?tokens=2&first_ms=0"
FLAGGED = "please flagme"
PICTURE = {"type": "image_url", "image_url": {"url": "https://chat.example/photo.jpg"}}


@pytest.fixture(scope="module")
def careful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment that judges every message before it is answered."""
    folder = tmp_path_factory.mktemp("careful")
    settings = {"MODERATE": "on", "MAX_TRIES": "2", "VISION_MODELS": "demo,demo[?]tokens*"}
    with deployed(folder, f"sqlite:///{folder / 'chatrelay.db'}", settings) as started:
        yield started


@pytest.fixture
def user(careful: Deployment) -> Client:
    return careful.user()


def asked(careful: Deployment) -> int:
    return int(str(careful.stack.stats()["requests"]))


def done(user: Client, message: str = "Hello", **body: Any) -> dict[str, Any]:
    return user.finished(user.submit(message, **{"model": QUICK, **body})["id"])


def owner(user: Client) -> str:
    claims: dict[str, str] = jwt.decode(user.token, options={"verify_signature": False})
    return claims["sub"]


def give_key(careful: Deployment, user: Client, sealed: str) -> None:
    with careful.database.write() as session:
        session.execute(update(User).where(User.id == owner(user)).values(provider_key=sealed))


def test_what_is_flagged_is_refused_before_it_is_asked(careful: Deployment, user: Client) -> None:
    before = asked(careful)
    refused = done(user, FLAGGED)
    assert (refused["status"], refused["error"]["code"], refused["attempt"]) == ("failed", "content_flagged", 1)
    assert "harassment" in refused["error"]["message"]
    assert "flagme" not in refused["error"]["message"]
    assert asked(careful) == before


def test_what_is_not_flagged_is_answered(user: Client) -> None:
    assert done(user)["text"] == "1 2 "


@pytest.mark.parametrize("how", ["split", "coalesce"])
def test_however_chunks_arrive_they_are_the_same_deltas(user: Client, how: str) -> None:
    job = user.submit(model=f"demo?tokens=5&first_ms=0&gap_ms=1&{how}=1")
    deltas = [event["delta"].get("content") for event in user.events(job["id"]).events if event["type"] == "delta"]
    assert deltas == ["1 ", "2 ", "3 ", "4 ", "5 "]


def test_images_that_are_not_flagged_are_answered(user: Client) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "Look"}, PICTURE, PICTURE]}]
    job = user.http.post("/jobs", json={"messages": messages, "model": QUICK}).json()
    assert user.finished(job["id"])["text"] == "1 2 "


def test_a_flagged_image_turn_is_judged_by_its_text(user: Client) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": FLAGGED}, PICTURE]}]
    job = user.http.post("/jobs", json={"messages": messages, "model": QUICK}).json()
    assert user.finished(job["id"])["error"]["code"] == "content_flagged"


def test_what_was_flagged_does_not_haunt_the_conversation(user: Client) -> None:
    conversation = user.submit(model=QUICK)["conversation_id"]
    assert done(user, FLAGGED, conversation_id=conversation)["status"] == "failed"
    seen = done(user, "And now?", conversation_id=conversation, model="demo?echo=1")
    assert "And now?" in seen["text"]
    assert "flagme" not in seen["text"]


def test_what_was_flagged_is_not_shown_again_when_its_job_is_deleted(user: Client) -> None:
    conversation = user.submit(model=QUICK)["conversation_id"]
    flagged = done(user, FLAGGED, conversation_id=conversation)
    assert user.http.delete(f"/jobs/{flagged['id']}").status_code == 204
    assert "flagme" not in done(user, "And now?", conversation_id=conversation, model="demo?echo=1")["text"]


@pytest.mark.parametrize("at", [0, 2])
def test_all_that_a_user_says_in_a_whole_context_is_judged(user: Client, at: int) -> None:
    history = [("user", "Hello"), ("assistant", FLAGGED), ("user", "And now?")]
    messages = [{"role": role, "content": FLAGGED if place == at else text} for place, (role, text) in enumerate(history)]
    refused = user.finished(user.http.post("/jobs", json={"messages": messages, "model": QUICK}).json()["id"])
    assert refused["error"]["code"] == "content_flagged"
    messages[at]["content"] = "Hello"
    assert user.finished(user.http.post("/jobs", json={"messages": messages, "model": QUICK}).json()["id"])["status"] == "completed"


def test_a_users_own_key_is_what_the_provider_gets(careful: Deployment, user: Client) -> None:
    give_key(careful, user, Vault(SecretStr(SECRET_KEY)).seal(BAD_API_KEY))
    refused = done(user)
    assert (refused["status"], refused["error"]["provider_status"]) == ("failed", 401)
    give_key(careful, user, Vault(SecretStr(SECRET_KEY)).seal("sk-good"))
    assert done(user)["status"] == "completed"


def test_a_key_that_cannot_be_read_fails_the_job_at_once(careful: Deployment, user: Client) -> None:
    give_key(careful, user, "sealed by nobody")
    refused = done(user)
    assert (refused["status"], refused["error"]["code"], refused["attempt"]) == ("failed", "provider_key_unreadable", 1)


def test_no_log_tells_a_key_or_what_was_asked(careful: Deployment, user: Client) -> None:
    give_key(careful, user, Vault(SecretStr(SECRET_KEY)).seal("sk-secretive"))
    done(user, "a secretive question")
    assert not any("secretive" in process.log() for process in [*careful.stack.workers, *careful.stack.webs])


def test_an_image_turn_does_not_break_later_turns_of_a_blind_model(careful: Deployment, user: Client) -> None:
    # Given a conversation that begins with an image, and a model that refuses images
    conversation = user.submit("Look", model=QUICK)["conversation_id"]
    done(user, "Nice?", conversation_id=conversation)
    body = {"content": [{"type": "text", "text": "Look"}, PICTURE]}
    with careful.database.write() as session:
        first = select(Message.id).where(Message.conversation_id == conversation, Message.parent_id.is_(None)).scalar_subquery()
        session.execute(update(Message).where(Message.id == first).values(body=body))
    blind = "demo?vision=0&echo=1"
    messages = [{"role": "user", **body}]
    refused = user.finished(user.http.post("/jobs", json={"messages": messages, "model": blind}).json()["id"])
    assert (refused["status"], refused["error"]["provider_status"]) == ("failed", 400)

    # When it is asked a turn of that conversation, then it is told of the image, and answers
    job = done(user, "And now?", conversation_id=conversation, model=blind)
    assert job["status"] == "completed"
    assert "Look\\n[image]" in job["text"]


def test_a_users_own_model_is_asked(careful: Deployment, user: Client) -> None:
    with careful.database.write() as session:
        session.execute(update(User).where(User.id == owner(user)).values(model="demo?tokens=3&first_ms=0"))
    job = user.finished(user.submit()["id"])
    assert (job["model"], job["text"]) == ("demo?tokens=3&first_ms=0", "1 2 3 ")
    assert done(user)["text"] == "1 2 "
