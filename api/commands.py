"""The operator's commands: `flask --app api.app make-admin USERNAME`."""

import click
from flask import Flask
from sqlalchemy import update

from api.context import context
from shared.database import Database
from shared.errors import DatabaseUnavailable
from shared.models import User


def install(app: Flask) -> None:
    """Add the commands."""
    app.cli.add_command(make_admin)


@click.command("make-admin")
@click.argument("username")
@click.option("--revoke", is_flag=True, help="Make the user one like all others again.")
def make_admin(username: str, *, revoke: bool) -> None:
    """Make a user an administrator, or an ordinary user again."""
    try:
        is_known = _set(context().database, username, is_admin=not revoke)
    except DatabaseUnavailable as error:
        raise click.ClickException(f"the database cannot be reached: {error.__cause__ or error}") from None
    if not is_known:
        raise click.ClickException(f"there is no user called {username}")
    click.echo(f"{username} is {'no administrator any more' if revoke else 'an administrator now'}.")


def _set(database: Database, username: str, *, is_admin: bool) -> bool:
    with database.write() as session:
        changed = update(User).where(User.username == username).values(is_admin=is_admin).returning(User.id)
        return session.scalar(changed) is not None
