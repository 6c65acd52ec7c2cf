"""OpenAI's own API: chat completions, responses, completions, conversations, models,
embeddings, moderations. See docs/openai.md."""

from api.dialects.openai import conversations, models
from api.dialects.openai.blueprint import blueprint, owns
from api.dialects.openai.chat import legacy
from api.dialects.openai.chat import routes as chat
from api.dialects.openai.chat import stored as stored_chat
from api.dialects.openai.errors import refusal
from api.dialects.openai.passed_on import embeddings, moderations
from api.dialects.openai.responses import compaction
from api.dialects.openai.responses import routes as responses
from api.dialects.openai.webhooks import deliveries, endpoints
from api.http.dialect import Dialect

CHAT = (chat, legacy, stored_chat)
RESPONSES = (responses, compaction, conversations, deliveries, endpoints)
for resource in (*CHAT, *RESPONSES, models, embeddings, moderations):
    blueprint.register_blueprint(resource.blueprint)

DIALECT = Dialect("openai", blueprint, owns, refusal)

__all__ = ["DIALECT"]
