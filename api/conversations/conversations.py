"""Conversations as their user sees them: find, list, read, change and delete them."""

from collections.abc import Callable, Sequence

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from api.conversations import overviews, rows
from api.conversations.overviews import Overview
from shared.database import Database
from shared.errors import NotFound
from shared.json_types import JsonObject
from shared.messages import tree
from shared.messages.text import text_of
from shared.models import UNFINISHED, Conversation, ConversationName, Job, Message, User

PATH_BATCH = 1_000
"""How many messages of a path that is read whole are read at once."""


class Conversations:
    """The conversations of all users. What a user may see is decided by `find` and `get`; all else takes a conversation."""

    def __init__(self, database: Database, stop_job: Callable[[str, str], object]) -> None:
        """Keep the parts; `stop_job` takes a user's id and a job's, cancels the job and waits for its end (bounded)."""
        self._database = database
        self._stop_job = stop_job

    def find(self, user_id: str, name: str) -> Conversation | None:
        """Return the user's conversation with this id or name, or None."""
        with self._database.read() as session:
            return rows.find(session, user_id, name)

    def get(self, user_id: str, name: str, *, param: str = "conversation_id") -> Conversation:
        """Return the user's conversation with this id or name; `param` is what the caller calls it.

        Raises:
            NotFound: there is none, or it is somebody else's; the two answer alike.
        """
        conversation = self.find(user_id, name)
        if conversation is None:
            raise NotFound("There is no such conversation.", param=param)
        return conversation

    def own_messages(self, user_id: str, message_ids: Sequence[str]) -> Sequence[Message]:
        """Return those of the user's messages that have one of these ids; the database is not asked for none."""
        if not message_ids:
            return []
        owned = (
            select(Message).join(Conversation, Conversation.id == Message.conversation_id).where(Conversation.user_id == user_id)
        )
        with self._database.read() as session:
            return session.scalars(owned.where(Message.id.in_(message_ids))).all()

    def create(self, user_id: str, messages: Sequence[JsonObject], labels: JsonObject) -> Conversation:
        """Create a conversation that begins with these messages."""
        with self._database.write() as session:
            conversation = rows.create(session, user_id)
            conversation.labels = labels
            conversation.leaf_id = tree.append(session, conversation.id, messages, None)
            session.flush()
            session.refresh(conversation)
            return conversation

    def get_or_create(self, user_id: str, name: str) -> Conversation:
        """Return the user's conversation with this id or name, or create one of that name.

        Raises:
            InvalidRequest: no conversation can have this name.
        """
        with self._database.write() as session:
            _lock_names(session, user_id)
            return rows.find(session, user_id, name) or rows.create(session, user_id, name=name)

    def add_name(self, user_id: str, conversation_id: str, name: str) -> None:
        """Give a conversation one more name; one that its user already uses, or that can be none, changes nothing."""
        if not rows.is_name(name):
            return
        with self._database.write() as session:
            _lock_names(session, user_id)
            exists = session.get(Conversation, conversation_id) is not None
            if exists and session.get(ConversationName, (user_id, name)) is None:
                session.add(ConversationName(user_id=user_id, name=name, conversation_id=conversation_id))

    def page(self, user_id: str, *, limit: int | None = None, offset: int = 0) -> list[Overview]:
        """Return overviews of the user's conversations, the one that changed last first."""
        with self._database.read() as session:
            return overviews.page(session, user_id, limit=limit, offset=offset)

    def overview(self, conversation: Conversation) -> Overview:
        """Return the overview of one conversation."""
        with self._database.read() as session:
            return overviews.overview(session, conversation)

    def first_user_messages(self, ids: Sequence[str]) -> dict[str, Message]:
        """Return the user's message with which each of these conversations begins, by the conversation's id."""
        with self._database.read() as session:
            return overviews.first_user_messages(session, ids)

    def path(self, conversation: Conversation) -> list[Message]:
        """Return the messages from the root to the current leaf. An answer that is still to come is not among them."""
        return self.path_to(conversation, conversation.leaf_id)

    def path_to(self, conversation: Conversation, message_id: str | None) -> list[Message]:
        """Return the messages from the root to one of them. An answer that is still to come is not among them."""
        with self._database.read() as session:
            return list(tree.path_up(session, conversation.id, message_id, batch=PATH_BATCH))[::-1]

    def answers(self, conversation: Conversation) -> list[tuple[Message, Job]]:
        """Return the answers on the path to the current leaf, oldest first, each with the job that it came from."""
        path = self.path(conversation)
        with self._database.read() as session:
            jobs = {job.answer_id: job for job in session.scalars(select(Job).where(Job.conversation_id == conversation.id))}
        return [(message, jobs[message.id]) for message in path if message.id in jobs]

    def messages(self, conversation: Conversation) -> tuple[list[Message], str | None]:
        """Return all messages of the tree, oldest first, and the id of the last one on the path to the current leaf."""
        with self._database.read() as session:
            path_ids = tree.path_ids(session, conversation.id, conversation.leaf_id)
            query = select(Message).where(Message.conversation_id == conversation.id).order_by(Message.created_ms, Message.id)
            messages = {message.id: message for message in session.scalars(query)}
        return list(messages.values()), next((message_id for message_id in path_ids if message_id in messages), None)

    def append(self, conversation: Conversation, messages: Sequence[JsonObject]) -> list[Message]:
        """Append messages to the current leaf, which may be an answer that is still to come, and return them.

        Raises:
            NotFound: the conversation was deleted meanwhile.
        """
        with self._database.write() as session:
            locked = rows.lock(session, conversation.id)
            before = locked.leaf_id
            locked.leaf_id = tree.append(session, locked.id, messages, before)
        path = self.path(self.get(conversation.user_id, conversation.id))
        indexes = [index for index, message in enumerate(path) if message.parent_id == before]
        return path[indexes[0] :] if indexes else []

    def set_prompt(self, conversation: Conversation, system: str | None) -> None:
        """Change a conversation's system prompt; turns from now on are shown the new one."""
        with self._database.write() as session:
            session.execute(update(Conversation).where(Conversation.id == conversation.id).values(system_prompt=system))

    def set_labels(self, conversation: Conversation, labels: JsonObject) -> None:
        """Change the metadata that a user keeps with a conversation."""
        with self._database.write() as session:
            session.execute(update(Conversation).where(Conversation.id == conversation.id).values(labels=labels))

    def edit_message(
        self, conversation: Conversation, message_id: str, edit: Callable[[Message | None], JsonObject | None]
    ) -> bool:
        """Replace a message's body by what `edit` returns for its row, while the conversation is locked; None changes nothing.

        Returns:
            whether the body was replaced.

        Raises:
            NotFound: the conversation was deleted meanwhile.
        """
        with self._database.write() as session:
            rows.lock(session, conversation.id)
            row = session.get(Message, message_id)
            body = edit(row)
            if row is not None and body is not None:
                row.body = body
        return body is not None

    def remove(self, conversation: Conversation) -> None:
        """Delete a conversation with its jobs and messages; running jobs are cancelled first, and waited for (bounded)."""
        unfinished = Job.conversation_id == conversation.id, Job.status.in_(UNFINISHED)
        with self._database.read() as session:
            job_ids = list(session.scalars(select(Job.id).where(*unfinished).order_by(Job.position.desc())))
        for job_id in job_ids:
            self._stop_job(conversation.user_id, job_id)
        with self._database.write() as session:
            session.execute(delete(Conversation).where(Conversation.id == conversation.id))

    def remove_message(self, conversation: Conversation, message_id: str) -> bool:
        """Remove one message; what followed it follows its parent. Return whether there was such a message.

        A message that is not answered yet has its job cancelled first; an empty answer to it is removed with it.
        """
        with self._database.read() as session:
            message = session.get(Message, message_id)
            if message is None or message.conversation_id != conversation.id:
                return False
            answering = Job.conversation_id == conversation.id, Job.user_message_id == message_id
            jobs = list(session.scalars(select(Job).where(*answering)))
        for job in jobs:
            if not job.status.is_terminal:
                self._stop_job(conversation.user_id, job.id)
        with self._database.write() as session:
            rows.lock(session, conversation.id)
            message = session.get(Message, message_id, populate_existing=True)
            for job in jobs:
                _detach(session, job, message)
            if message is not None:
                tree.remove(session, message)
        return True


def _lock_names(session: Session, user_id: str) -> None:
    """Let all that name a user's conversations take turns, as submissions do: two might give the same name."""
    session.execute(select(User.id).where(User.id == user_id).with_for_update(key_share=True))


def _detach(session: Session, job: Job, message: Message | None) -> None:
    """Let a job's answer follow the parent of the message that it answers (None: already removed); remove an empty one."""
    locked = session.get(Job, job.id, with_for_update=True) if message is not None else None
    if locked is not None and message is not None:
        locked.user_message_id = message.parent_id  # its answer may yet be written, or be looked for after it was removed
    answer = session.get(Message, job.answer_id)
    if answer is not None and (answer.failed_turn or not (answer.body.get("tool_calls") or text_of(answer.body))):
        tree.remove(session, answer)
