"""Users as an administrator makes and removes them: without a password, known by an API token."""

from sqlalchemy import delete, select

from api.auth import accounts, api_tokens
from api.context import Context
from api.jobs import control
from shared.errors import InvalidRequest
from shared.ids import new_id
from shared.models import UNFINISHED, Job, User

BUILT_IN = {accounts.OPERATOR[0], accounts.ANONYMOUS[0]}


def add(context: Context) -> tuple[str, str]:
    """Make a user.

    Returns:
        the user's id, and the API token, which cannot be told again.
    """
    user_id = new_id("user")
    user = User(id=user_id, username=f"member {user_id}", password_hash=accounts.NO_PASSWORD)
    with context.database.write() as session:
        session.add(user)
    _, token = api_tokens.make(context, user_id)
    return user_id, token


def remove(context: Context, user_id: str) -> None:
    """Remove a user with all that is his; what runs for him is cancelled. Of an unknown user, nothing is changed.

    Raises:
        InvalidRequest: it is one of our own.
    """
    if user_id in BUILT_IN:
        raise InvalidRequest("This user cannot be deleted.", param="user_id")
    if "\x00" in user_id:
        return
    with context.database.read() as session:
        unfinished = list(session.scalars(select(Job.id).where(Job.user_id == user_id, Job.status.in_(UNFINISHED))))
    for job_id in unfinished:
        control.cancel(context, user_id, job_id, wait_seconds=0)
    with context.database.write() as session:
        session.execute(delete(User).where(User.id == user_id))
