"""Estimates of tokens, for what no provider has counted."""

from collections.abc import Sequence

from shared.json_types import JsonObject
from shared.messages.text import text_of, text_of_calls

CHARS_PER_TOKEN = 4
"""A rule of thumb for English text."""


def estimate_tokens(text: str) -> int:
    """Estimate how many tokens a text is, by its length."""
    return -(-len(text) // CHARS_PER_TOKEN)


def estimated_usage(prompt: Sequence[JsonObject], message: JsonObject) -> JsonObject:
    """Estimate the usage of a prompt and its answer, marked as an estimate."""
    prompt_tokens = sum(estimate_tokens(text_of(each)) for each in prompt)
    completion_tokens = estimate_tokens(text_of(message) + (message.get("refusal") or "") + text_of_calls(message))
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "estimated": True,
    }
