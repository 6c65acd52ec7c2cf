"""The wire of ChatGPT API powered by NestJS: a request id, then its stream; sessions; own model and key. See docs/dialects.md."""

from api.dialects.chatgpt_api_nest import account, processing, sessions
from api.dialects.chatgpt_api_nest.wire import blueprint, owns, refusal

__all__ = ["account", "blueprint", "owns", "processing", "refusal", "sessions"]
