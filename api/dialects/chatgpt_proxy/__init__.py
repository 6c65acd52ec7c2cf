"""The dialect of Proxy API for ChatGPT: chats under ids of the caller's choice. See docs/dialects.md."""

from api.dialects.chatgpt_proxy import chats, prompts
from api.dialects.chatgpt_proxy.blueprint import blueprint, owns, refusal
from api.http.dialect import Dialect

DIALECT = Dialect("chatgpt_proxy", blueprint, owns, refusal)

__all__ = ["DIALECT", "chats", "prompts"]
