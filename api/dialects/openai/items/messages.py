"""Items of OpenAI's responses and conversations as the chat messages that they are, and chat messages as items. Pure.

A chat message may be several items (a text and the functions that it calls), and several items one message.
"""

import hashlib
from collections.abc import Collection, Sequence

from api.dialects.openai.items.shapes import MESSAGE
from shared import ids
from shared.errors import InvalidRequest
from shared.json_types import JsonObject

NAME_DIGITS = 16
"""How many hexadecimal digits of a digest name an item among those of one message."""

_FOR_USERS = frozenset(("input_image", "input_file"))
"""Parts that are no text."""
_PREFIXES = {MESSAGE: ids.MESSAGE, "function_call": "fc", "function_call_output": "fco", "reasoning": "rs"}


def messages_of(items: Sequence[JsonObject], param: str = "input") -> list[JsonObject]:
    """Return the chat messages that items are. Calls that stand together are one message, with the assistant's text before them.

    Raises:
        InvalidRequest: an item is not possible where it stands; it is named, under `param`.
    """
    messages: list[JsonObject] = []
    for place, item in enumerate(items):
        if item["type"] == "function_call":
            _add_call(messages, item)
        elif item["type"] == "function_call_output":
            messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": _output(item["output"])})
        elif item["type"] == MESSAGE:
            messages.append(_message(item, f"{param}.{place}"))
    return messages


def _add_call(messages: list[JsonObject], item: JsonObject) -> None:
    call = {"id": item["call_id"], "type": "function", "function": {"name": item["name"], "arguments": item["arguments"]}}
    if messages and messages[-1]["role"] == "assistant":
        messages[-1].setdefault("tool_calls", []).append(call)
    else:
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})


def _message(item: JsonObject, param: str) -> JsonObject:
    role, content = item["role"], item["content"]
    if isinstance(content, str):
        return {"role": role, "content": content}
    if any(part["type"] in _FOR_USERS for part in content) and role != "user":
        raise InvalidRequest("Only the user's messages may have images and files.", param=f"{param}.content")
    if role == "user" and (len(content) > 1 or content[0]["type"] in _FOR_USERS if content else False):
        return {"role": role, "content": [_part(part) for part in content]}
    refusals = [part["refusal"] for part in content if part["type"] == "refusal"]
    refused: JsonObject = {"refusal": "".join(refusals)} if refusals else {}
    texts = [part["text"] for part in content if part["type"] != "refusal"]
    return {"role": role, "content": "\n".join(texts) if texts or not refusals else None, **refused}


def _part(part: JsonObject) -> JsonObject:
    if part["type"] == "input_image":
        detail: JsonObject = {"detail": part["detail"]} if part.get("detail") else {}
        return {"type": "image_url", "image_url": {"url": part["image_url"], **detail}}
    if part["type"] == "input_file":
        named: JsonObject = {"filename": part["filename"]} if part.get("filename") else {}
        return {"type": "file", "file": {"file_data": part["file_data"], **named}}
    return {"type": "text", "text": part.get("text") or part.get("refusal") or ""}


def _output(output: str | list[JsonObject]) -> str | list[JsonObject]:
    """Return what a function gave back: a text, where it is nothing else, since many providers take only that."""
    if isinstance(output, str):
        return output
    if any(part["type"] in _FOR_USERS for part in output):
        return [_part(part) for part in output]
    return "\n".join(part["text"] for part in output)


def items_of(message_id: str, role: str, body: JsonObject) -> list[JsonObject]:
    """Return the items that a stored message is.

    Args:
        message_id: its row's id, from which the items' ids are made.
        role: the message's role.
        body: the message as chat completions write it, without its role.
    """
    base = ids.random_part(message_id)
    if role == "tool":
        content = body.get("content")
        parts = isinstance(content, list) and any(part.get("type") != "text" for part in content)
        shown = [_input(part) for part in content or ()] if parts else _text(content)
        output = {"call_id": body.get("tool_call_id") or "", "output": shown}
        return [{"id": f"fco_{base}", "type": "function_call_output", "status": "completed", **output}]
    calls = body.get("tool_calls") or []
    items = [_message_item(message_id, role, body)] if not calls or body.get("content") or body.get("refusal") else []
    names: list[str] = []
    for call in calls:
        names.append(call_item_id(base, call["id"], names))
        function = {"call_id": call["id"], "name": call["function"]["name"], "arguments": call["function"]["arguments"]}
        items.append({"id": names[-1], "type": "function_call", "status": "completed", **function})
    return items


def call_item_id(base: str, call_id: str, taken: Collection[str]) -> str:
    """Return the id of a call's item, made from the call's, so that it stays when items beside it go; `taken` are its siblings'."""
    name = f"fc_{base}_{hashlib.sha256(call_id.encode()).hexdigest()[:NAME_DIGITS]}"
    return name if name not in taken else f"{name}x{len(taken)}"  # some providers give two calls one id


def _message_item(message_id: str, role: str, body: JsonObject) -> JsonObject:
    content = body.get("content") or ""
    if role == "assistant":
        parts = [output_text(_text(content))] if content or not body.get("refusal") else []
        parts += [{"type": "refusal", "refusal": body["refusal"]}] if body.get("refusal") else []
    elif isinstance(content, str):
        parts = [{"type": "input_text", "text": content}]
    else:
        parts = [_input(part) for part in content]
    return {"id": message_id, "type": MESSAGE, "status": "completed", "role": role, "content": parts}


def output_text(text: str) -> JsonObject:
    """Return a text of the model as a part of a message item."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _input(part: JsonObject) -> JsonObject:
    if part["type"] == "image_url":
        image = part["image_url"]
        return {"type": "input_image", "image_url": image["url"], "detail": image.get("detail") or "auto"}
    if part["type"] == "file":
        return {"type": "input_file", **part["file"]}
    return {"type": "input_text", "text": part.get("text") or ""}


def _text(content: str | list[JsonObject] | None) -> str:
    return content if isinstance(content, str) else "".join(part.get("text") or "" for part in content or ())


def listed(items: Sequence[JsonObject], base: str) -> list[JsonObject]:
    """Return items that were sent as they are listed later: each with an id, contents in parts.

    Args:
        items: as `dumped` wrote them.
        base: from this the ids of those are made that were sent without one.
    """
    return [_listed(item, f"{_PREFIXES[item['type']]}_{base}_in{place}") for place, item in enumerate(items)]


def _listed(item: JsonObject, item_id: str) -> JsonObject:
    view = {"status": "completed", **item, "id": item.get("id") or item_id}
    if item["type"] == "reasoning":
        return {"summary": [], **view}
    if item["type"] == MESSAGE and isinstance(item["content"], str):
        text = item["content"]
        view["content"] = [output_text(text)] if item["role"] == "assistant" else [{"type": "input_text", "text": text}]
    return view
