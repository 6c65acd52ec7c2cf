"""Refuse NUL characters in paths and queries: PostgreSQL has no room for them, not even in a text that is only looked for.

Those in bodies are dealt with where bodies are read: `api/http/bodies.py` refuses them, `api/http/go_json.py` replaces them.
"""

from flask import Flask, request

from shared.errors import InvalidRequest, NotFound

NUL = "\x00"


def install(app: Flask) -> None:
    """Register the check, before all guards."""
    app.before_request(_refuse)


def _refuse() -> None:
    if NUL in request.path:
        params = [name for name, value in (request.view_args or {}).items() if NUL in str(value)]
        raise NotFound("There is nothing under this id.", param=params[0] if params else None)
    for name, value in request.args.items(multi=True):
        if NUL in name + value:
            raise InvalidRequest("Text must not have NUL characters.", param=name.replace(NUL, ""))
