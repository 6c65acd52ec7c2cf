"""OpenAI's own wire: chat completions, responses, conversations, models, moderations. See docs/openai.md."""

from api.dialects.openai import conversations, models, moderations
from api.dialects.openai.chat import routes as chat
from api.dialects.openai.responses import routes as responses
from api.dialects.openai.webhooks import deliveries, endpoints
from api.dialects.openai.wire import blueprint, owns, refusal

for resource in (chat, conversations, models, moderations, responses, deliveries, endpoints):
    blueprint.register_blueprint(resource.blueprint)

__all__ = ["blueprint", "owns", "refusal"]
