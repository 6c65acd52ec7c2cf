"""What every route may answer with: an error; and the answers of the health checks."""

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
    """Each part's readiness: `ok`, or what is wrong with it."""

    status: Literal["ok", "unavailable"]
    checks: dict[str, str]
