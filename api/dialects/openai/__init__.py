"""OpenAI's own wire: chat completions, responses, conversations, models, moderations. See docs/protocol.md."""

from api.dialects.openai import responses
from api.dialects.openai.wire import blueprint, owns, refusal

__all__ = ["blueprint", "owns", "refusal", "responses"]
