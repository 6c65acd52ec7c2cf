"""Refresh tokens in the database: what ends a family ends all of it, also what is added at this very moment."""

from concurrent import futures
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import select, update

from api.auth import accounts
from shared.database import Database, now_ms
from shared.ids import new_id
from shared.models import RefreshToken, User


def token(user_id: str) -> RefreshToken:
    return RefreshToken(id=new_id("refresh"), family="family_1", user_id=user_id, expires_ms=now_ms() + 60_000)


def test_a_family_ends_with_the_token_that_a_refresh_is_just_adding(database: Database) -> None:
    user = User(id=new_id("user"), username="ann", password_hash="x")
    with database.write() as session:
        session.add(user)
        session.flush()
        first = token(user.id)
        session.add(first)

    def end() -> None:
        with database.write() as session:
            accounts._revoke_family(session, first.id)

    with ThreadPoolExecutor(1) as threads:
        with database.write() as session:
            session.execute(update(RefreshToken).where(RefreshToken.id == first.id).values(revoked_ms=now_ms()))
            session.add(token(user.id))
            session.flush()
            ending = threads.submit(end)
            futures.wait([ending], 0.5)  # it waits for us
        ending.result(30)
    with database.read() as session:
        assert [row.revoked_ms is None for row in session.scalars(select(RefreshToken))] == [False, False]
