"""The wire of Chat GPT REST API: conversations that are begun, asked, branched and deleted. See docs/dialects.md."""

from api.dialects.chatgpt_rest_api import asking, history
from api.dialects.chatgpt_rest_api.wire import blueprint, owns, refusal
from api.http.dialect import Dialect

DIALECT = Dialect("chatgpt_rest_api", blueprint, owns, refusal)

__all__ = ["DIALECT", "asking", "history"]
