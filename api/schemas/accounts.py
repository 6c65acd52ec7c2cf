"""Accounts and their tokens, as requests and answers hold them."""

from datetime import datetime
from typing import Annotated, Any, Literal

from flask import request
from pydantic import BaseModel, Field, StringConstraints, model_validator

from api.http.bodies import Body
from shared.models.user import USERNAME_CHARS

Name = Annotated[str, StringConstraints(min_length=1, max_length=USERNAME_CHARS, pattern=r"^[^\s]+$")]
Password = Annotated[str, StringConstraints(min_length=8, max_length=1024)]


class FormOrJson(Body):
    """A request in JSON or, for clients of a dialect, in a form."""

    @model_validator(mode="before")
    @classmethod
    def _from_form(cls, value: Any) -> Any:
        return request.form.to_dict() if value is None and request.form else value


class Credentials(FormOrJson):
    """The name and the password of a new account."""

    username: Name
    password: Password


class Login(FormOrJson):
    """A name and a password. They are read from the body alone: a query string stands in the logs of every proxy on the way."""

    username: str = Field(max_length=1024)
    password: str = Field(max_length=1024)


class OwnPassword(Body):
    """The password of the caller's account, which proves that they are no thief of a token."""

    password: str = Field(max_length=1024)


class NewPassword(OwnPassword):
    """The password, and the one to come."""

    new_password: Password


class SessionPath(BaseModel):
    """The path of a session."""

    session_id: str


class SessionView(BaseModel):
    """A log-in that is still good, until then unless it is used."""

    id: str
    expires_at: datetime


class SessionList(BaseModel):
    """All sessions of a user."""

    object: Literal["list"] = "list"
    data: list[SessionView]


class RefreshRequest(Body):
    """A refresh token."""

    refresh_token: str = Field(max_length=8192)


class Registered(BaseModel):
    """A new account."""

    id: str
    sub: str
    username: str


class TokenPair(BaseModel):
    """What a login returns; `expires_in` is in seconds."""

    access_token: str
    refresh_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - the type's name, no secret
    expires_in: int


class TokenRequest(Body):
    """An API token to be made; `name` is what its user calls it."""

    name: str = Field("", max_length=USERNAME_CHARS)


class TokenPath(BaseModel):
    """The API token that a path names."""

    token_id: str


class TokenView(BaseModel):
    """An API token, masked."""

    id: str
    name: str
    token: str
    created_at: datetime


class NewToken(TokenView):
    """A new API token; `secret` is the token itself, which no other answer shows."""

    secret: str


class TokenList(BaseModel):
    """A user's API tokens."""

    object: Literal["list"] = "list"
    data: list[TokenView]
