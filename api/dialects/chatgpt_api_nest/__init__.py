"""The dialect of ChatGPT API powered by NestJS: answers whole or as a stream, sessions, own model and key. See docs/dialects.md."""

from api.dialects.chatgpt_api_nest import account, processing, sessions
from api.dialects.chatgpt_api_nest.blueprint import blueprint, fields_in_our_refusals, owns, refusal
from api.http.dialect import Dialect

DIALECT = Dialect("chatgpt_api_nest", blueprint, owns, refusal, fields_in_our_refusals=fields_in_our_refusals)

__all__ = ["DIALECT", "account", "processing", "sessions"]
