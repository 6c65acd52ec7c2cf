"""`/v1/models`: the provider's list, as a worker last read it, and the agents."""

from typing import Any

from flask import Blueprint, Response, jsonify

from api.context import context
from shared.agents.requests import AGENT_MODEL
from shared.errors import NotFound

OWNER = "chatrelay"

blueprint = Blueprint("models", __name__)


@blueprint.get("/models")
def index() -> Response:
    """List the models."""
    return jsonify({"object": "list", "data": _all()})


@blueprint.get("/models/<path:model_id>")
def show(model_id: str) -> Response:
    """Show one model."""
    for model in _all():
        if model["id"] == model_id:
            return jsonify(model)
    raise NotFound(f"The model '{model_id}' does not exist.", param="model", code="model_not_found")


def _all() -> list[dict[str, Any]]:
    listed = context().model_list.models() or [_ours(context().config.default_model)]
    return [*listed, _ours(AGENT_MODEL)]


def _ours(model_id: str) -> dict[str, Any]:
    return {"id": model_id, "object": "model", "created": 0, "owned_by": OWNER}
