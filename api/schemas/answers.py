"""What every route may answer: an error, and how we are."""

from typing import Literal

from pydantic import BaseModel


class ErrorBody(BaseModel):
    """What went wrong; `param` names the field."""

    message: str
    type: str
    code: str
    param: str | None


class ErrorAnswer(BaseModel):
    """The one error envelope; OpenAI's."""

    error: ErrorBody


class Health(BaseModel):
    """Alive."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Which part is ready: `ok`, or what is the matter."""

    status: Literal["ok", "unavailable"]
    checks: dict[str, str]
