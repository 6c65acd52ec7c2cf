"""ChatGPT-API-server's API: questions for agents, where agents connect, the operator's routes. See docs/dialects.md."""

from api.dialects.chatgpt_api_server import administration, asking, connections, registration
from api.dialects.chatgpt_api_server.blueprint import blueprint, owns, refusal
from api.http.dialect import Dialect

DIALECT = Dialect("chatgpt_api_server", blueprint, owns, refusal, answers_preflight=True)

__all__ = ["DIALECT", "administration", "asking", "connections", "registration"]
