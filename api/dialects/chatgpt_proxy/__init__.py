"""The wire of Proxy API for ChatGPT: chats under ids of the caller's choice. See docs/dialects.md."""

from api.dialects.chatgpt_proxy import chats, prompts
from api.dialects.chatgpt_proxy.wire import blueprint, owns, refusal

__all__ = ["blueprint", "chats", "owns", "prompts", "refusal"]
