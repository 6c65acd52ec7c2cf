"""Chat completion requests: checked, and refused by the name of the first wrong part."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dev.model.options import Options, parse
from dev.model.wire import Refusal

_ROLES = ("system", "developer", "user", "assistant", "tool", "function")


@dataclass(frozen=True, slots=True)
class ModelCall:
    """A valid chat completion request."""

    model: str
    options: Options
    messages: list[dict[str, Any]]
    stream: bool
    include_usage: bool
    max_tokens: int | None
    tools: dict[str, dict[str, Any]]
    forced_tool: str | None
    response_format: dict[str, Any]

    @property
    def first_user_text(self) -> str:
        """Return the text of the first user message; calls are counted by it and by the model string."""
        return next((text_of(message) for message in self.messages if message["role"] == "user"), "")

    @property
    def prompt_tokens(self) -> int:
        """Return the length of the prompt in tokens: each word is one, and each message costs three more."""
        return sum(3 + len(text_of(message).split()) for message in self.messages)

    @property
    def latest(self) -> list[dict[str, Any]]:
        """Return the last user message and all that follow it."""
        roles = [message["role"] for message in self.messages]
        start = len(roles) - roles[::-1].index("user") - 1 if "user" in roles else 0
        return self.messages[start:]


def read(body: Any) -> ModelCall:
    """Read the JSON of a chat completion request.

    Raises:
        Refusal: naming the first part that is wrong.
    """
    if not isinstance(body, dict):
        raise Refusal(400, "The body must be a JSON object.")
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise wrong("model", "must be a string")
    if body.get("n") not in (None, 1):
        raise wrong("n", "can only be 1 here")
    tools = _read_tools(body)
    options = parse(model)
    return ModelCall(
        model=model,
        options=options,
        messages=_read_messages(body, can_see=options.vision),
        stream=body.get("stream") is True,
        include_usage=bool(_mapping(body, "stream_options").get("include_usage")),
        max_tokens=_read_limit(body),
        tools=tools,
        forced_tool=_read_choice(body, tools),
        response_format=_read_format(body),
    )


def parts_of(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the parts of a message whose content is a list."""
    content = message.get("content")
    return (part for part in content if isinstance(part, dict)) if isinstance(content, list) else iter(())


def text_of(message: dict[str, Any]) -> str:
    """Return the text of a message whose content is a string or a list of parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    return " ".join(part["text"] for part in parts_of(message) if isinstance(part.get("text"), str))


def _read_messages(body: dict[str, Any], *, can_see: bool) -> list[dict[str, Any]]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise wrong("messages", "must be a list that is not empty")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise wrong(f"messages[{index}].role", f"must be one of {', '.join(_ROLES)}")
        if not isinstance(message.get("content"), str | list | None):
            raise wrong(f"messages[{index}].content", "must be a string or a list of parts")
        if not can_see and any(part.get("type") == "image_url" for part in parts_of(message)):
            raise wrong(f"messages[{index}].content", "holds an image, which this model cannot see")
    return messages


def _read_limit(body: dict[str, Any]) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        limit = body.get(name)
        if limit is not None:
            if not isinstance(limit, int) or limit < 1:
                raise wrong(name, "must be a whole number above 0")
            return limit
    return None


def _read_tools(body: dict[str, Any]) -> dict[str, dict[str, Any]]:
    entries = body.get("tools") or []
    if not isinstance(entries, list):
        raise wrong("tools", "must be a list")
    tools = {}
    for index, tool in enumerate(entries):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise wrong(f"tools[{index}]", "must be a function with a name")
        tools[function["name"]] = function
    return tools


def _read_choice(body: dict[str, Any], tools: dict[str, dict[str, Any]]) -> str | None:
    """Return the tool to call: the one that is forced, else the first one; None for none."""
    choice = body.get("tool_choice")
    if choice == "none" or (not tools and choice in (None, "auto")):
        return None
    if choice in (None, "auto", "required") and tools:
        return next(iter(tools))
    function = choice.get("function") if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or name not in tools:
        raise wrong("tool_choice", "must be none, auto, required, or name one of the tools")
    return name


def _read_format(body: dict[str, Any]) -> dict[str, Any]:
    wanted = _mapping(body, "response_format")
    if wanted.get("type", "text") not in ("text", "json_object", "json_schema"):
        raise wrong("response_format.type", "must be text, json_object or json_schema")
    if wanted.get("type") == "json_schema" and not isinstance(wanted.get("json_schema"), dict):
        raise wrong("response_format.json_schema", "must be an object")
    return wanted


def _mapping(body: dict[str, Any], name: str) -> dict[str, Any]:
    value = body.get(name)
    if value is not None and not isinstance(value, dict):
        raise wrong(name, "must be an object")
    return value or {}


def wrong(param: str, why: str) -> Refusal:
    """Return the refusal that names a part of the request."""
    return Refusal(400, f"`{param}` {why}.", param=param)
