"""OpenAI's Node SDK, unmodified, as a second client of its API. Without Node.js the tests are skipped; in CI they fail."""

from typing import Any

from tests.api.conftest import ON_SQLITE

TWENTY = "".join(f"{number} " for number in range(1, 21))

pytestmark = ON_SQLITE


def test_a_streamed_chat_completion(run_scenario: Any) -> None:
    found = run_scenario("chat")
    assert found["text"] == TWENTY
    assert found["usage"]["completion_tokens"] == 20
    assert found["numbers"] == list(range(len(found["numbers"])))


def test_the_helper_puts_a_chat_completion_together(run_scenario: Any) -> None:
    assert run_scenario("chatHelper") == {"text": TWENTY, "reason": "stop"}


def test_a_background_response_is_polled_to_its_end(run_scenario: Any) -> None:
    found = run_scenario("background")
    assert found["first"] in ("queued", "in_progress")
    assert (found["status"], found["text"]) == ("completed", TWENTY)


def test_a_broken_stream_is_taken_up_again(run_scenario: Any) -> None:
    assert run_scenario("resume") == {"same": True, "text": TWENTY, "last": "response.completed"}


def test_the_helper_puts_a_response_together(run_scenario: Any) -> None:
    assert run_scenario("helper") == {"status": "completed", "text": TWENTY}


def test_the_helper_comes_back_to_a_response(run_scenario: Any) -> None:
    assert run_scenario("helperResume") == {"first": 7, "text": TWENTY}


def test_refusals_are_its_typed_errors(run_scenario: Any) -> None:
    bad, unknown, nobody = run_scenario("refused")
    assert bad == {"name": "BadRequestError", "status": 400, "code": bad["code"], "param": "temperature", "id": True}
    assert (unknown["name"], unknown["status"], unknown["id"]) == ("NotFoundError", 404, True)
    assert (nobody["name"], nobody["code"]) == ("AuthenticationError", "invalid_api_key")
