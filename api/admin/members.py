"""Users as an administrator makes and removes them: without a password, known by an API token."""

import structlog
from sqlalchemy import delete, select

from api.auth import accounts
from api.auth.accounts import Accounts
from api.auth.api_tokens import ApiTokens
from api.jobs.jobs import Jobs
from shared.database import Database
from shared.errors import InvalidRequest
from shared.ids import new_id
from shared.models import UNFINISHED, Job, User

BUILT_IN = {accounts.OPERATOR[0], accounts.ANONYMOUS[0]}

log = structlog.get_logger(__name__)


class Members:
    """Users without a password."""

    def __init__(self, database: Database, accounts: Accounts, api_tokens: ApiTokens, jobs: Jobs) -> None:
        """Keep the parts."""
        self._database = database
        self._accounts = accounts
        self._api_tokens = api_tokens
        self._jobs = jobs

    def add(self) -> tuple[str, str]:
        """Make a user.

        Returns:
            the user's id, and the API token, which is shown this once.
        """
        user_id = new_id("user")
        user = User(id=user_id, username=f"member {user_id}", password_hash=accounts.NO_PASSWORD)
        with self._database.write() as session:
            session.add(user)
        _, token = self._api_tokens.create(user_id)
        return user_id, token

    def remove(self, user_id: str) -> None:
        """Remove a user with all that is theirs; what runs for them is cancelled. Of an unknown user, nothing is changed.

        Raises:
            InvalidRequest: it is one of our own.
        """
        if user_id in BUILT_IN:
            raise InvalidRequest("This user cannot be deleted.", param="user_id")
        with self._database.read() as session:
            unfinished = list(session.scalars(select(Job.id).where(Job.user_id == user_id, Job.status.in_(UNFINISHED))))
        for job_id in unfinished:
            self._jobs.cancel(user_id, job_id, wait_seconds=0)
        with self._database.write() as session:
            session.execute(delete(User).where(User.id == user_id))
        log.info("account.deleted", user=user_id)
        self._accounts.forget(user_id)
        self._api_tokens.forget_all()
