"""Clients for Node.js that nobody here wrote, unmodified: Vercel's AI SDK, and two readers of server-sent events."""

from typing import Any

import pytest

from tests.api.conftest import ON_SQLITE

TWENTY, HUNDRED = ("".join(f"{number} " for number in range(1, count + 1)) for count in (20, 100))
APIS = pytest.mark.parametrize("api", ["responses", "chat"])
CLIENTS = "clients.mjs"

pytestmark = ON_SQLITE


@APIS
def test_a_chatbot_over_five_turns(run_scenario: Any, api: str) -> None:
    assert run_scenario("chatbot", api, script=CLIENTS) == [TWENTY] * 5


@APIS
@pytest.mark.parametrize("scenario", ["tools", "toolsStreamed"])
def test_a_tool_is_called_and_its_result_is_answered(run_scenario: Any, scenario: str, api: str) -> None:
    found = run_scenario(scenario, api, script=CLIENTS)
    assert found["calls"] == 1
    assert "21 degrees" in found["text"]


@APIS
def test_an_object_of_a_schema(run_scenario: Any, api: str) -> None:
    assert set(run_scenario("object", api, script=CLIENTS)) == {"name", "age"}


@APIS
def test_an_answer_is_aborted(run_scenario: Any, api: str) -> None:
    assert 5 <= run_scenario("abort", api, script=CLIENTS) < 50


@APIS
def test_a_request_that_the_provider_refuses_is_sent_once(run_scenario: Any, api: str) -> None:
    assert run_scenario("refusedOnce", api, script=CLIENTS) == {"requests": 1, "status": 400}


def test_fetch_event_source_through_a_proxy_that_cuts(run_scenario: Any) -> None:
    found = run_scenario("fetchEventSource", script=CLIENTS)
    assert (found["text"], found["empty"], found["cuts"] > 0) == (HUNDRED, 0, True)


def test_event_source_polyfill_through_a_proxy_that_cuts(run_scenario: Any) -> None:
    found = run_scenario("eventSourcePolyfill", script=CLIENTS)
    assert (found["text"], found["cuts"] > 0) == (HUNDRED, True)
