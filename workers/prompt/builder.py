"""The completion request of a job: its prompt, the user's own key, and where an agent's own conversation stands."""

from collections.abc import Iterable
from itertools import tee

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.agents.requests import AGENT_MODEL
from shared.config import Settings
from shared.json_types import JsonObject
from shared.messages import tree
from shared.messages.text import text_of
from shared.models import Conversation, Job, Message, User
from shared.security.vault import SealBroken, Vault
from workers.prompt import messages
from workers.providers.base import AgentPosition, CompletionRequest, ProviderError

MAX_MESSAGES = 10_000
"""How far a path is followed, from the newest message; a longer history fits no budget."""
KEY_UNREADABLE = "Your own provider key cannot be used any more. Set it again."


def completion_request(session: Session, job: Job, config: Settings) -> CompletionRequest:
    """Build the completion request of a job, in an open transaction.

    It has the user's own key where they have one and the job is not for an agent. Where that key cannot be used, it has a refusal.
    """
    path, same_path = tee(tree.path_up(session, job.conversation_id, job.user_message_id, limit=MAX_MESSAGES))
    sealed_key, conversations_prompt = _known(session, job)
    prompt = messages.prompt(job, path, conversations_prompt, config.context_tokens, config.vision_models)
    key, refusal = None, None
    try:
        key = _own_key(job, sealed_key, config)
    except SealBroken as error:
        refusal = ProviderError(KEY_UNREADABLE, code=error.reason, retryable=False)
    return CompletionRequest(
        job.model,
        prompt,
        job.request.get("parameters", {}),
        kind=job.kind,
        api_key=key,
        position=_position(job, same_path),
        refusal=refusal,
        user_messages=_user_messages(job, prompt),
    )


def _user_messages(job: Job, prompt: list[JsonObject]) -> list[JsonObject]:
    """Return what of a prompt comes from the user with this job: of a turn its own messages, of a whole context all of theirs."""
    count = len(job.request["messages"]) if "messages" in job.request else job.request.get("turn_messages", 1)
    return [message for message in prompt[-count:] if message["role"] == "user"]


def _known(session: Session, job: Job) -> tuple[str | None, str | None]:
    """Return the user's sealed key, and the conversation's own system prompt."""
    system = select(Conversation.system_prompt).where(Conversation.id == job.conversation_id).scalar_subquery()
    found = session.execute(select(User.provider_key, system).where(User.id == job.user_id)).first()
    return (found[0], found[1]) if found else (None, None)


def _own_key(job: Job, sealed_key: str | None, config: Settings) -> str | None:
    """Return the user's own key, opened; None where they have none, or an agent answers.

    Raises:
        SealBroken: it cannot be read, or could not be sent in a header.
    """
    if not sealed_key or job.model == AGENT_MODEL:
        return None
    key = Vault(config.secret_key).open(sealed_key)
    if not (key.isascii() and key.isprintable()) or key != key.strip():
        raise SealBroken
    return key


def _position(job: Job, path: Iterable[Message]) -> AgentPosition:
    """Return where an agent would have to go on: at the last answer before the turn that is not empty, if an agent gave it."""
    requested = job.request.get("agent", {})
    answers = (row for row in path if row.role == "assistant" and (row.origin or text_of(row.body)))
    last = next(answers, None) if job.model == AGENT_MODEL else None
    return AgentPosition(last.origin if last else None, requested.get("message_id"), requested.get("parent_id"))
