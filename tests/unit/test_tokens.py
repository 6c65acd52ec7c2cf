"""How tokens are counted, and that nothing is fetched for it."""

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiktoken
import tiktoken.load
import tiktoken.registry

from shared.answer import estimate_tokens
from workers import tokens

TEXT = "ababab <|endoftext|>"
URL = "https://nowhere.invalid/tiny.tiktoken"


def tiny() -> dict[str, object]:
    """An encoding of single bytes and `ab`, in the manner of tiktoken's own."""
    ranks = tiktoken.load.load_tiktoken_bpe(URL)
    return {"name": "tiny", "pat_str": r"\S+|\s", "mergeable_ranks": ranks, "special_tokens": {"<|endoftext|>": len(ranks)}}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder where tiktoken looks for its data, and an encoding that would have to be fetched."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    tiktoken.list_encoding_names()
    assert tiktoken.registry.ENCODING_CONSTRUCTORS is not None
    monkeypatch.setitem(tiktoken.registry.ENCODING_CONSTRUCTORS, "tiny", tiny)
    monkeypatch.setattr(tokens, "UNKNOWN_MODELS_ENCODING", "tiny")
    tokens._encoding.cache_clear()
    yield tmp_path
    tokens._encoding.cache_clear()
    tiktoken.registry.ENCODINGS.pop("tiny", None)


def at_hand(folder: Path) -> None:
    vocabulary = [bytes([byte]) for byte in range(256)] + [b"ab"]
    lines = [base64.b64encode(word) + b" %d" % rank for rank, word in enumerate(vocabulary)]
    (folder / hashlib.sha1(URL.encode()).hexdigest()).write_bytes(b"\n".join(lines))


def test_with_the_data_at_hand_tokens_are_counted(cache: Path) -> None:
    at_hand(cache)

    # Three pairs, a blank, and what looks like a special token letter by letter.
    assert tokens.of_text(TEXT, "unknown-model") == 3 + 1 + len("<|endoftext|>")


def test_without_it_they_are_estimated_and_nothing_is_fetched(cache: Path) -> None:
    # Were it fetched, the name would not be found, which is another error than ours.
    assert tokens.of_text(TEXT, "unknown-model") == estimate_tokens(TEXT)
    assert list(cache.iterdir()) == []


def test_a_text_that_fills_any_budget_is_not_counted(cache: Path) -> None:
    at_hand(cache)
    text = "ab" * 200_000

    assert tokens.of_text(text, "unknown-model") == estimate_tokens(text)


def test_a_message_has_an_overhead_and_its_images_count() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}
    plain = tokens.of_message({"role": "user", "content": "Hello"}, "m")

    assert plain == tokens.of_text("Hello", "m") + 4
    assert tokens.of_message({"role": "user", "content": [{"type": "text", "text": "Hello"}, image]}, "m") == plain + 765
    assert tokens.of_message({"role": "assistant", "content": None}, "m") == 4


@pytest.mark.parametrize(("model", "encoding"), [("gpt-4o-mini", "o200k_base"), ("gpt-4", "cl100k_base"), ("demo", "o200k_base")])
def test_the_encoding_follows_from_the_model(model: str, encoding: str) -> None:
    assert tokens._encoding_name(model) == encoding
