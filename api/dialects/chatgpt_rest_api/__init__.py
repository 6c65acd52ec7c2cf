"""The wire of Chat GPT REST API: conversations that are begun, asked, branched and deleted. See docs/dialects.md."""

from api.dialects.chatgpt_rest_api import asking, history
from api.dialects.chatgpt_rest_api.wire import blueprint, owns, refusal

__all__ = ["asking", "blueprint", "history", "owns", "refusal"]
