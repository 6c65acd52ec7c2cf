"""Lists of jobs, page by page.

A page begins behind a job, by the moment and the id of both (keyset paging), so that a page far down costs no more than the first.
"""

from collections.abc import Mapping

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import defer

from shared.database import Database
from shared.models import ANSWERED, Job, ObjectType, Status

Page = tuple[list[Job], bool]
"""The jobs of a page, and whether there are more."""


class JobLists:
    """The lists of all users' jobs; every method takes the user whose list it is."""

    def __init__(self, database: Database) -> None:
        """Keep the database."""
        self._database = database

    def newest_first(self, user_id: str, *, after: Job | None, limit: int, status: Status | None) -> Page:
        """Return a page of a user's jobs, from behind a job; of all, or of those with a status."""
        query = select(Job).where(Job.user_id == user_id)
        if status is not None:
            query = query.where(Job.status == status)
        # Not what was asked, which may be megabytes each, and is not shown.
        unseen = query.options(defer(Job.request, raiseload=True), defer(Job.wire_request, raiseload=True))
        return self._page(unseen, after=after, limit=limit, is_descending=True)

    def chat_completions(
        self,
        user_id: str,
        *,
        after: Job | None,
        limit: int,
        is_descending: bool,
        model: str | None,
        labels: Mapping[str, str],
    ) -> Page:
        """Return a page of a user's stored chat completions that have an answer; of all, of one model, with some labels."""
        own = Job.user_id == user_id
        query = select(Job).where(own, Job.wire == ObjectType.CHAT_COMPLETION, Job.stored, Job.status.in_(ANSWERED))
        if model:
            query = query.where(Job.model == model)
        for name, value in labels.items():
            query = query.where(self._has_label(name, value))
        return self._page(query, after=after, limit=limit, is_descending=is_descending)

    def _page(self, query: Select[Job], *, after: Job | None, limit: int, is_descending: bool) -> Page:
        if after is not None:
            query = query.where(_earlier(after) if is_descending else _later(after))
        order = (Job.created_ms.desc(), Job.id.desc()) if is_descending else (Job.created_ms, Job.id)
        with self._database.read() as session:
            jobs = list(session.scalars(query.order_by(*order).limit(limit + 1)))
        return jobs[:limit], len(jobs) > limit

    def _has_label(self, name: str, value: str) -> ColumnElement[bool]:
        """Look for a pair among the labels; SQLite's way to a field by its name knows no quotes and nothing beyond ASCII."""
        pairs_of = func.json_each if self._database.is_sqlite else func.json_each_text
        pair = pairs_of(Job.labels).table_valued("key", "value")
        return select(pair).where(pair.c.key == name, pair.c.value == value).exists()


def _earlier(job: Job) -> ColumnElement[bool]:
    return (Job.created_ms < job.created_ms) | ((Job.created_ms == job.created_ms) & (Job.id < job.id))


def _later(job: Job) -> ColumnElement[bool]:
    return (Job.created_ms > job.created_ms) | ((Job.created_ms == job.created_ms) & (Job.id > job.id))
