"""What is judged, and what counts as a moderation; through the real SDK, over a transport with scripted answers."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx2
import orjson
import pytest
from openai import AsyncOpenAI

from shared.models import Kind
from workers.providers.base import Chunk, CompletionRequest, ProviderError
from workers.providers.moderation import Moderation

OMNI = "omni-moderation-latest"
TEXT = {"type": "text", "text": "Look"}
ZEROS = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


def picture(name: str, **more: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"https://a.example/{name}.png", **more}}


def judgement(*flagged: str) -> dict[str, Any]:
    categories = {"hate": "hate" in flagged, "harassment/threatening": "harassment/threatening" in flagged}
    result = {"flagged": bool(flagged), "categories": categories, "category_scores": {"hate": 1e-7}, "x_vendor": None}
    return {"id": "modr-1", "model": OMNI, "results": [result]}


class Judge:
    """A moderations endpoint: answers each call with the next of its words, the last again and again."""

    def __init__(self, *says: Any, model: str = OMNI) -> None:
        self._says = [httpx2.Response(200, json=words) if isinstance(words, dict) else words for words in says]
        self.calls: list[dict[str, Any]] = []
        self.keys: list[str] = []
        client = httpx2.AsyncClient(transport=httpx2.MockTransport(self._answer))
        sdk = AsyncOpenAI(api_key="operators", base_url="http://judge/v1", max_retries=0, http_client=client)
        self.moderation = Moderation(sdk, model)

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        self.calls.append(orjson.loads(request.content))
        self.keys.append(request.headers["authorization"])
        says: httpx2.Response | Exception = self._says[min(len(self.calls), len(self._says)) - 1]
        if isinstance(says, Exception):
            raise says
        return says

    def answer(self, request: CompletionRequest) -> list[Chunk]:
        """Return the chunks of a job that asks for a moderation."""

        async def collect() -> list[Chunk]:
            return [chunk async for chunk in self.moderation.answer(request)]

        return asyncio.run(collect())

    def check(self, request: CompletionRequest) -> list[Chunk]:
        """Return the chunks that come before an answer."""

        async def collect() -> list[Chunk]:
            return [chunk async for chunk in self.moderation.check(request)]

        return asyncio.run(collect())


def request(content: Any = "Hello", *more: dict[str, Any], **fields: Any) -> CompletionRequest:
    return CompletionRequest("m", [{"role": "system", "content": "s"}, {"role": "user", "content": content}, *more], **fields)


def test_a_judgement_is_the_moderation_object_unchanged() -> None:
    judge = Judge(judgement("hate"))
    chunks = judge.answer(request(kind=Kind.MODERATION))
    delta, finish_reason, usage = chunks[-1][:3]

    assert delta is not None
    assert orjson.loads(delta["content"]) == judgement("hate")
    assert (finish_reason, usage) == ("stop", ZEROS)
    assert [chunk for chunk in chunks[:-1] if chunk != Chunk()] == []
    assert judge.calls == [{"model": OMNI, "input": "Hello"}]


def test_what_cannot_be_judged_is_refused() -> None:
    judge = Judge(judgement())
    content = [{"type": "text", "text": "Look"}, {"type": "file", "file": {"file_data": "data:application/pdf;base64,x"}}]
    with pytest.raises(ProviderError, match="cannot be moderated: file") as refused:
        judge.check(request(content))
    assert (refused.value.reason, refused.value.retryable, judge.calls) == ("content_flagged", False, [])


def test_the_newest_message_of_the_user_is_judged() -> None:
    judge = Judge(judgement())
    judge.check(request("old", {"role": "user", "content": "new"}, {"role": "assistant", "content": "answer"}))
    judge.check(request([TEXT], {"role": "user", "content": [picture("new")]}))
    judge.check(CompletionRequest("m", [{"role": "system", "content": "all there is"}]))

    assert [call["input"] for call in judge.calls] == ["new", [picture("new")], "all there is"]


@pytest.mark.parametrize(
    ("content", "inputs"),
    [
        ([TEXT], ["Look"]),
        ([TEXT, TEXT], ["LookLook"]),
        ([TEXT, picture("a", detail="low")], [[TEXT, picture("a")]]),
        ([picture("a"), TEXT, picture("b")], [[TEXT, picture("a")], [picture("b")]]),
        ([picture("a"), picture("b")], [[picture("a")], [picture("b")]]),
    ],
    ids=["text", "texts", "image", "images", "images alone"],
)
def test_images_are_judged_one_a_call(content: list[dict[str, Any]], inputs: list[Any]) -> None:
    judge = Judge(judgement())
    signs = judge.check(request(content))

    assert [call["input"] for call in judge.calls] == inputs
    assert signs == [Chunk()] * len(inputs)


def test_all_that_comes_with_a_question_is_judged_texts_in_one_call() -> None:
    judge = Judge(judgement())
    messages = [{"role": "user", "content": content} for content in ("one", "two", [TEXT, picture("a")], "three")]
    judge.check(request(user_messages=messages))

    assert [call["input"] for call in judge.calls] == [["one", "two"], [TEXT, picture("a")], "three"]


def test_where_nothing_comes_from_the_user_there_is_nothing_to_judge() -> None:
    judge = Judge(judgement("hate"))
    assert judge.check(request(user_messages=[])) == []
    assert judge.calls == []


def test_a_model_that_sees_no_images_judges_the_text() -> None:
    judge = Judge(judgement(), model="text-moderation-latest")
    judge.check(request([TEXT, picture("a")]))

    assert judge.calls == [{"model": "text-moderation-latest", "input": "Look"}]


def test_a_judgement_of_several_images_has_all_results() -> None:
    delta = Judge(judgement(), judgement("hate")).answer(request([picture("a"), picture("b")]))[-1].delta

    assert delta is not None
    assert orjson.loads(delta["content"])["results"] == [*judgement()["results"], *judgement("hate")["results"]]


@pytest.mark.parametrize("flags", [(judgement("hate"), judgement()), (judgement(), judgement("hate"))], ids=["first", "last"])
def test_one_flagged_image_is_enough(flags: tuple[dict[str, Any], ...]) -> None:
    with pytest.raises(ProviderError) as flagged:
        Judge(*flags).check(request([picture("a"), picture("b")]))

    assert (flagged.value.reason, flagged.value.retryable) == ("content_flagged", False)


def test_a_refusal_names_the_categories_and_not_the_text() -> None:
    with pytest.raises(ProviderError) as flagged:
        Judge(judgement("hate", "harassment/threatening")).check(request("Something bad"))

    assert flagged.value.fields() == {
        "code": "content_flagged",
        "message": "The message was flagged by moderation: harassment/threatening, hate.",
    }


@pytest.mark.parametrize("categories", [{"categories": None}, {"categories": {"hate": False}}, {}])
def test_what_is_flagged_for_no_reason_is_flagged(categories: dict[str, Any]) -> None:
    with pytest.raises(ProviderError, match="unnamed"):
        Judge({"results": [{"flagged": True, **categories}]}).check(request())


NO_JUDGEMENTS: dict[str, Callable[[], Any]] = {
    "no results": lambda: {"results": []},
    "nothing": lambda: {},
    "results of a kind": lambda: {"results": "none"},
    "a result of a kind": lambda: {"results": ["none"]},
    "no word": lambda: {"results": [{"categories": {}}]},
    "another word": lambda: {"results": [{"flagged": None}]},
    "strange categories": lambda: {"results": [{"flagged": True, "categories": ["hate"]}]},
    "a list": lambda: httpx2.Response(200, json=[]),
    "no JSON": lambda: httpx2.Response(200, text="{", headers={"content-type": "application/json"}),
    "a page": lambda: httpx2.Response(200, html="<p>Welcome"),
    "an empty body": lambda: httpx2.Response(200),
}


@pytest.mark.parametrize("says", NO_JUDGEMENTS.values(), ids=NO_JUDGEMENTS)
def test_what_is_no_judgement_is_no_pass(says: Callable[[], Any]) -> None:
    for call in (Judge.check, Judge.answer):
        with pytest.raises(ProviderError) as broken:
            call(Judge(says()), request())
        assert (broken.value.reason, broken.value.retryable) == ("provider_malformed", True)


def test_a_moderation_that_cannot_be_had_is_a_providers_error() -> None:
    for says, status, may_pass in [
        (httpx2.Response(500), 500, True),
        (httpx2.Response(429, headers={"retry-after": "7"}), 429, True),
        (httpx2.Response(401, json={"error": {"message": "No."}}), 401, False),
        (httpx2.ConnectError("away"), None, True),
        (httpx2.ReadError("cut"), None, True),
    ]:
        with pytest.raises(ProviderError) as failed:
            Judge(says).check(request())
        assert (failed.value.http_status, failed.value.retryable) == (status, may_pass)


def test_a_users_own_key_is_judged_with() -> None:
    judge = Judge(judgement())
    judge.check(request())
    judge.check(request(api_key="sk-mine"))

    assert judge.keys == ["Bearer operators", "Bearer sk-mine"]
