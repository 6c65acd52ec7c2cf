"""How tokens are counted, and that nothing is downloaded for it."""

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiktoken
import tiktoken.load
import tiktoken.registry

from shared.messages.usage import estimate_tokens
from workers.prompt import token_counter

TEXT = "ababab <|endoftext|>"
VOCABULARY = {bytes([byte]): byte for byte in range(256)} | {b"ab": 256}
URL = "https://nowhere.invalid/tiny.tiktoken"


def tiny() -> dict[str, object]:
    """An encoding of single bytes and `ab`, in the manner of tiktoken's own."""
    ranks = tiktoken.load.load_tiktoken_bpe(URL)
    return {"name": "tiny", "pat_str": r"\S+|\s", "mergeable_ranks": ranks, "special_tokens": {"<|endoftext|>": len(ranks)}}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder where tiktoken looks for its data, and an encoding that would have to be downloaded."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    tiktoken.list_encoding_names()
    assert tiktoken.registry.ENCODING_CONSTRUCTORS is not None
    monkeypatch.setitem(tiktoken.registry.ENCODING_CONSTRUCTORS, "tiny", tiny)
    monkeypatch.setattr(token_counter, "UNKNOWN_MODELS_ENCODING", "tiny")
    token_counter._encoding.cache_clear()
    yield tmp_path
    token_counter._encoding.cache_clear()
    tiktoken.registry.ENCODINGS.pop("tiny", None)


def cached(folder: Path) -> Path:
    lines = [base64.b64encode(word) + b" %d" % rank for word, rank in VOCABULARY.items()]
    file = folder / hashlib.sha1(URL.encode()).hexdigest()
    file.write_bytes(b"\n".join(lines))
    return file


def test_with_cached_data_tokens_are_counted(cache: Path) -> None:
    cached(cache)

    # Three pairs, a blank, and what looks like a special token letter by letter.
    assert token_counter.of_text(TEXT, "unknown-model") == 3 + 1 + len("<|endoftext|>")


@pytest.mark.parametrize("model", ["unknown-model", "gpt-4o", "gpt-4"])
@pytest.mark.parametrize("folder", ["the cache", ""])
def test_without_it_they_are_estimated_and_nothing_is_downloaded(
    cache: Path, monkeypatch: pytest.MonkeyPatch, model: str, folder: str
) -> None:
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: pytest.fail("a host is looked up"))
    if not folder:
        monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")  # what tiktoken takes for: keep nothing

    assert token_counter.of_text(TEXT, model) == estimate_tokens(TEXT)
    assert list(cache.iterdir()) == []


def test_damaged_data_is_not_used(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: pytest.fail("a host is looked up"))
    url = "https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken"
    (cache / hashlib.sha1(url.encode()).hexdigest()).write_bytes(b"damaged")

    assert token_counter.of_text(TEXT, "gpt-4o") == estimate_tokens(TEXT)


def test_data_that_cannot_be_read_is_not_used(cache: Path) -> None:
    file = cached(cache)
    file.unlink()
    file.mkdir()

    assert token_counter.of_text(TEXT, "unknown-model") == estimate_tokens(TEXT)


def test_a_very_long_text_is_not_counted(cache: Path) -> None:
    cached(cache)
    text = "ab" * 200_000

    assert token_counter.of_text(text, "unknown-model") == estimate_tokens(text)


@pytest.mark.parametrize("name", ["o200k_base", "cl100k_base"])
@pytest.mark.parametrize("letter", [" ", "^", "a", "A", "中", "\n", "\ud800"], ids=ascii)
def test_no_text_that_is_counted_makes_tiktoken_panic(monkeypatch: pytest.MonkeyPatch, name: str, letter: str) -> None:
    # Their own rules of where words end, over a vocabulary of ours.
    monkeypatch.setattr("tiktoken_ext.openai_public.load_tiktoken_bpe", lambda *_, **__: dict(VOCABULARY))
    tiktoken.list_encoding_names()
    encoding = tiktoken.Encoding(**(tiktoken.registry.ENCODING_CONSTRUCTORS or {})[name]())
    monkeypatch.setattr(token_counter, "_encoding", lambda _: encoding)

    assert token_counter.of_text(letter * (token_counter.MAX_COUNTED_CHARS - 1) + "x", "m") > 1


def test_a_message_has_an_overhead_and_its_images_count() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}
    plain = token_counter.of_message({"role": "user", "content": "Hello"}, "m")

    assert plain == token_counter.of_text("Hello", "m") + 4
    assert token_counter.of_message({"role": "user", "content": [{"type": "text", "text": "Hello"}, image]}, "m") == plain + 765
    assert token_counter.of_message({"role": "assistant", "content": None}, "m") == 4
    call = {"id": "c", "type": "function", "function": {"name": "Hel", "arguments": "lo"}}
    assert token_counter.of_message({"role": "assistant", "content": None, "tool_calls": [call]}, "m") == plain


@pytest.mark.parametrize(("model", "encoding"), [("gpt-4o-mini", "o200k_base"), ("gpt-4", "cl100k_base"), ("demo", "o200k_base")])
def test_the_encoding_follows_from_the_model(model: str, encoding: str) -> None:
    assert token_counter._encoding_name(model) == encoding
