"""Makes of a request for a response one that a chat completion can say: references become items, what has no effect is named."""

from api.dialects.openai import unknown
from api.dialects.openai.items import references
from api.dialects.openai.responses.request import ResponseInput
from api.dialects.openai.responses.shapes import Tool


def settle(body: ResponseInput) -> None:
    """Replace references by their items, and leave out what has no effect; the response names it.

    Raises:
        NotFound: there is no such item.
        InvalidRequest: something is unknown, and the operator wants it refused.
    """
    unknown.judge(body, may_forward=False)
    for place, tool in enumerate(body.tools or ()):
        if not isinstance(tool, Tool):
            unknown.leave_out(f"tools.{place}", tool.type)
    if isinstance(body.input, list):
        body.replace_items(references.settled(body.input, "input"))
