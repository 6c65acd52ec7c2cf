"""`functions` and `function_call`, OpenAI's words before `tools`: requests in them become requests for tools, and answers go back.

The provider is only ever asked for tools. A function has no id there, so that its call and its result are matched by their order.
"""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from api.dialects.openai.unknown import Open
from api.schemas.chat import CalledFunction, FunctionTool
from shared.errors import InvalidRequest
from shared.json_types import JsonObject

CALLED = "function_call"
"""The field of a message, and the finish reason."""


class Function(FunctionTool, Open):
    """A function that the model may call."""


class FunctionName(Open):
    """The one function to call."""

    name: str = Field(min_length=1)


FunctionChoice = Literal["none", "auto"] | FunctionName


class Called(CalledFunction, Open):
    """A function that was called."""


def tools(functions: Sequence[Function], choice: Literal["none", "auto"] | FunctionName | None) -> JsonObject:
    """Return the parameters that say the same of tools.

    Raises:
        InvalidRequest: the function to be called is not among them.
    """
    if isinstance(choice, FunctionName) and choice.name not in {function.name for function in functions}:
        raise InvalidRequest(f"There is no function '{choice.name}' to choose.", param=CALLED)
    if not functions:
        return {}
    listed = [{"type": "function", "function": function.model_dump(exclude_none=True)} for function in functions]
    chosen: Any = {"type": "function", "function": {"name": choice.name}} if isinstance(choice, FunctionName) else choice
    return {"tools": listed, **({"tool_choice": chosen} if chosen else {})}


def messages_with_calls(messages: Sequence[JsonObject]) -> list[JsonObject]:
    """Return messages whose function calls are tool calls, and whose functions' results are tools' results."""
    written: list[JsonObject] = []
    called = 0
    for message in messages:
        if message["role"] == "function":
            result = {name: value for name, value in message.items() if name != "name"}
            written.append({**result, "role": "tool", "tool_call_id": f"call_{called}"})
        elif function := message.get(CALLED):
            called += 1
            call = {"id": f"call_{called}", "type": "function", "function": function}
            written.append({**{name: value for name, value in message.items() if name != CALLED}, "tool_calls": [call]})
        else:
            written.append(message)
    return written


def reason(finish_reason: str | None) -> str | None:
    """Return a finish reason in the old words."""
    return CALLED if finish_reason == "tool_calls" else finish_reason


def with_call(message: JsonObject) -> JsonObject:
    """Return a message, or a delta, whose first tool call is its function call. The old words have no room for a second."""
    calls = [call for call in message.get("tool_calls") or () if not call.get("index")]
    others = {name: value for name, value in message.items() if name != "tool_calls"}
    return {**others, CALLED: calls[0]["function"]} if calls and "function" in calls[0] else others
