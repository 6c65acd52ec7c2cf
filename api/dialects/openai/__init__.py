"""OpenAI's own wire: chat completions, responses, conversations, models, moderations. See docs/openai.md."""

from api.dialects.openai import chat, conversations, models, moderations, responses, webhook_deliveries, webhooks
from api.dialects.openai.wire import blueprint, owns, refusal

for room in (chat, conversations, models, moderations, responses, webhook_deliveries, webhooks):
    blueprint.register_blueprint(room.blueprint)

__all__ = ["blueprint", "owns", "refusal"]
