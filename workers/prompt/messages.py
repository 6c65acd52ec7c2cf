"""What the model is shown: the system prompt, as much of the newest history as the budget allows, and the turn itself."""

from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import chain, islice, takewhile

from shared.json_types import JsonObject
from shared.messages import answer
from shared.messages.text import text_of
from shared.models import Job, Message
from workers.prompt import token_counter

IMAGE = "[image]"
"""What stands for an earlier image where it is not shown."""


def prompt(
    job: Job, path: Iterator[Message], conversations_prompt: str | None, budget_tokens: int, vision_models: Sequence[str]
) -> list[JsonObject]:
    """Return the messages of a job's completion request.

    A job that brings its whole context is shown that and nothing else. A turn of a conversation is shown the path to it, newest
    first until the budget is spent; the turn itself is always shown, whole.

    Args:
        job: whose prompt it is.
        path: the messages from the job's own up to the root; read no further than they are needed.
        conversations_prompt: the system prompt of the job's conversation, which the job's own beats.
        budget_tokens: how much may be shown.
        vision_models: patterns of the models that are shown earlier images.
    """
    if "messages" in job.request:
        return _with_system(job.request.get("system"), job.request["messages"])
    system = job.request.get("system") or conversations_prompt
    turn, path = _turn(job.request.get("turn_messages", 1), path, job.model)
    history: Iterable[JsonObject] = (_message(row, job.model) for row in _without_failures(path))
    if not any(fnmatchcase(job.model, pattern) for pattern in vision_models):
        history = map(_without_images, history)
    left = (
        budget_tokens
        - token_counter.of_text(system or "", job.model)
        - sum(token_counter.of_message(message, job.model) for message in turn)
    )
    return _with_system(system, [*_complete(_fitting(history, left, job.model)), *turn])


def _turn(count: int, path: Iterator[Message], model: str) -> tuple[list[JsonObject], Iterator[Message]]:
    """Split a path into the turn (its newest `count` messages, and if tool results begin it, their calls as well) and the rest."""
    rows = list(islice(path, count))
    for row in path:
        if rows[-1].role != "tool" or not (row.role == "tool" or row.body.get("tool_calls")):
            path = chain([row], path)
            break
        rows.append(row)
    return [_message(row, model) for row in reversed(rows)], path


def _with_system(system: str | None, messages: list[JsonObject]) -> list[JsonObject]:
    return [{"role": "system", "content": system}, *messages] if system else messages


def _message(row: Message, model: str) -> JsonObject:
    """Return a message as it was said; what only its own model understands goes to no other."""
    message = {"role": row.role, **row.body}
    is_of_another = row.role == "assistant" and row.origin is not None and row.origin.get("model", model) != model
    return answer.for_any_model(message) if is_of_another else message


def _without_failures(path: Iterable[Message]) -> Iterator[Message]:
    """Leave out earlier turns that failed without a text: what was refused once must not be sent with every later turn."""
    skipped = 0
    for row in path:
        if row.failed_turn:
            skipped = row.failed_turn
        elif skipped:
            skipped -= 1
        else:
            yield row


def _without_images(message: JsonObject) -> JsonObject:
    parts = message.get("content")
    if not isinstance(parts, list) or all(part.get("type") == "text" for part in parts):
        return message
    return {**message, "content": "\n".join(part["text"] if part.get("type") == "text" else IMAGE for part in parts)}


def _fitting(history: Iterable[JsonObject], budget_tokens: int, model: str) -> list[JsonObject]:
    """Return the newest messages that fit, oldest first; `history` comes newest first."""
    left = budget_tokens
    chosen: list[JsonObject] = []
    for message in history:
        left -= token_counter.of_message(message, model)
        if left < 0:
            break
        chosen.append(message)
    return chosen[::-1]


def _complete(messages: list[JsonObject]) -> Iterator[JsonObject]:
    """Leave out empty answers, tool calls that do not all have results, and tool results without a call."""
    open_calls: set[str] = set()
    for index, message in enumerate(messages, 1):
        if message["role"] == "tool":
            if message.get("tool_call_id") in open_calls:
                yield message
            continue
        calls = {call["id"] for call in message.get("tool_calls") or ()}
        open_calls = calls if calls and calls <= _results(messages, index) else set()
        if open_calls or message["role"] != "assistant":
            yield message
        elif text_of(message):
            yield {name: value for name, value in message.items() if name != "tool_calls"}


def _results(messages: list[JsonObject], start: int) -> set[str | None]:
    """Return the ids of the calls whose results begin at this index."""
    results = takewhile(lambda message: message["role"] == "tool", islice(messages, start, None))
    return {result.get("tool_call_id") for result in results}
