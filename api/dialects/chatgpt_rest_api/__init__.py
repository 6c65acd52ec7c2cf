"""The dialect of Chat GPT REST API: conversations that are begun, continued, branched and deleted. See docs/dialects.md."""

from api.dialects.chatgpt_rest_api import history, turns
from api.dialects.chatgpt_rest_api.blueprint import blueprint, owns, refusal
from api.http.dialect import Dialect

DIALECT = Dialect("chatgpt_rest_api", blueprint, owns, refusal)

__all__ = ["DIALECT", "history", "turns"]
