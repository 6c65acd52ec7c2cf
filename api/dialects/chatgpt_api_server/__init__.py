"""The wire of ChatGPT-API-server: questions for agents, the agents' own door, and the operator's routes. See docs/dialects.md."""

from api.dialects.chatgpt_api_server import administration, asking, registration
from api.dialects.chatgpt_api_server.wire import blueprint, owns, refusal
from api.http.dialect import Dialect

DIALECT = Dialect("chatgpt_api_server", blueprint, owns, refusal, answers_preflight=True)

__all__ = ["DIALECT", "administration", "asking", "registration"]
