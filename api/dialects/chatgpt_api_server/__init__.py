"""The wire of ChatGPT-API-server: questions for agents, the agents' own door, and the operator's routes. See docs/dialects.md."""

from api.dialects.chatgpt_api_server import administration, asking, registration
from api.dialects.chatgpt_api_server.wire import blueprint, owns, refusal

__all__ = ["administration", "asking", "blueprint", "owns", "refusal", "registration"]
