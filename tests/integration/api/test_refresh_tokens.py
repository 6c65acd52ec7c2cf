"""Refresh tokens in the database: what ends a family ends all of it, also what is added at this very moment."""

from concurrent import futures
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, update

from api.auth import accounts
from api.auth.sessions import revoke
from shared.database import Database, now_ms
from shared.ids import new_id
from shared.models import RefreshToken, User

ROUNDS = 20
THREADS = 6


def token(user_id: str) -> RefreshToken:
    return RefreshToken(id=new_id("refresh"), family="family_1", user_id=user_id, expires_ms=now_ms() + 60_000)


@pytest.mark.parametrize("all_of_the_user", [False, True])
def test_a_family_ends_with_the_token_that_a_refresh_is_just_adding(database: Database, *, all_of_the_user: bool) -> None:
    user = User(id=new_id("user"), username="ann", password_hash="x")
    with database.write() as session:
        session.add(user)
        session.flush()
        first = token(user.id)
        session.add(first)

    def end() -> None:
        with database.write() as session:
            revoke(session, RefreshToken.user_id == user.id if all_of_the_user else accounts._family_of(first.id))

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


def test_many_that_end_a_family_at_once_do_not_wait_for_one_another_in_a_circle(database: Database) -> None:
    # Given a token that is refreshed just now, by one whose id comes first, while many find it used: none fails
    user = User(id=new_id("user"), username="ann", password_hash="x")
    with database.write() as session:
        session.add(user)

    def end(first: RefreshToken) -> None:
        with database.write() as session:
            revoke(session, accounts._family_of(first.id))

    for number in range(ROUNDS):
        first, second = token(user.id), token(user.id)
        first.id, second.id, first.family, second.family = f"{number}_b", f"{number}_a", f"{number}", f"{number}"
        second.expires_ms = now_ms() + 120_000
        with database.write() as session:
            session.add(first)
        with ThreadPoolExecutor(THREADS) as threads:
            with database.write() as session:
                session.execute(update(RefreshToken).where(RefreshToken.id == first.id).values(revoked_ms=now_ms()))
                session.add(second)
                session.flush()
                endings = [threads.submit(end, first) for _ in range(THREADS)]
            endings += [threads.submit(end, first) for _ in range(THREADS)]
            for ending in endings:
                ending.result(30)
