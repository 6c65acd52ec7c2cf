"""`/v1/responses/compact`: the model sums a long conversation up, which then goes on behind the summary."""

from flask import Blueprint, Response, jsonify

from api.dialects.openai import foreground, ids
from api.dialects.openai.errors import ProviderFailed
from api.dialects.openai.items import compaction
from api.dialects.openai.items import messages as item_messages
from api.dialects.openai.request import read_body
from api.dialects.openai.responses import known, object, placement
from api.dialects.openai.responses.request import ResponseInput, parameters
from api.jobs.submission import ParamNames, Submission
from shared.errors import InvalidRequest
from shared.json_types import JsonObject
from shared.messages.text import text_of
from shared.models import Job, Status
from shared.timestamps import unix_seconds

ASKED = (
    "Sum up the conversation so far for an assistant who will go on with it and can read nothing else: what is wanted, what was "
    "found and decided, which names, numbers and code matter, and what is to be done next. Answer with the summary alone."
)
_TOOLS = ("tools", "tool_choice", "parallel_tool_calls", "response_format")

blueprint = Blueprint("compaction", __name__)


@blueprint.post("/responses/compact")
def compact() -> Response:
    """Compact an input: its user's messages, and a summary of all."""
    body = read_body(ResponseInput)
    known.settle(body)
    messages = [*placement.messages_before(body), *item_messages.messages_of(body.items())]
    if not messages:
        raise InvalidRequest("There is nothing to compact.", param="input")
    submission = Submission(
        messages=[*messages, {"role": "user", "content": ASKED}],
        model=body.model,
        system=body.instructions,
        parameters={name: value for name, value in parameters(body).items() if name not in _TOOLS},
        param_names=ParamNames(turn="input", system="instructions"),
        stored=False,
    )
    job = foreground.wait_for_end(foreground.submit(submission))
    if job.status is not Status.COMPLETED:
        raise ProviderFailed(job)
    return ids.with_job_id(jsonify(_compacted(job, messages)), job)


def _compacted(job: Job, messages: list[JsonObject]) -> JsonObject:
    base = object.base(job)
    of_user = [message for message in messages if message["role"] == "user"]
    items = [item for place, each in enumerate(of_user) for item in item_messages.items_of(f"msg_{base}_{place}", "user", each)]
    return {
        "id": f"resp_{base}",
        "object": "response.compaction",
        "created_at": unix_seconds(job.created_ms),
        "output": [*items, compaction.item(base, text_of(job.message))],
        "usage": object.usage(job.usage),
    }
