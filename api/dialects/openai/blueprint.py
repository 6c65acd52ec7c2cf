"""The blueprint of everything below `/v1`: who may call, and the headers of every answer.

The facts are those of the official SDK (openai-python 3.52) and of openai/openai-openapi 2.3.0.
"""

import math
import time

from flask import Blueprint, Response, g

from api.dialects.openai import unknown
from api.guards import require_user

PATH = "/v1"
VERSION = "2020-10-01"
"""The one version that OpenAI has ever sent as `openai-version`."""

blueprint = Blueprint("openai", __name__, url_prefix=PATH)
blueprint.before_request(require_user)


def owns(path: str) -> bool:
    """Return whether a path belongs to this dialect."""
    return path == PATH or path.startswith(PATH + "/")


@blueprint.after_request
def _add_headers(response: Response) -> Response:
    unknown.add_header(response)
    response.headers["openai-version"] = VERSION
    response.headers["openai-processing-ms"] = str(math.ceil((time.monotonic() - g.begun) * 1000))
    if (rate_limit := g.get("rate_limit")) is not None:
        limit, remaining, reset_seconds = rate_limit
        values = {"limit": limit, "remaining": remaining, "reset": f"{reset_seconds}s"}
        response.headers.update({f"x-ratelimit-{name}-requests": str(value) for name, value in values.items()})
    return response
