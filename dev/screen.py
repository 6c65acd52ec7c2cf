"""The screen that `bin/dev` prints when everything is up."""

from dev.environment import Environment

STREAM_URL = r"""sed -n 's/.*"stream_url": *"\([^"]*\)".*/\1/p'"""
"""Extracts the stream's address from a JSON answer with a tool that every machine has."""


def curl(api_url: str, token: str) -> str:
    """Return a command that submits a job and streams its answer; it works in bash and zsh as it stands."""
    headers = f"-H 'Authorization: Bearer {token}' -H 'Content-Type: application/json'"
    return f"""curl -sN "$(curl -s {api_url}/jobs {headers} -d '{{"message": "Hello"}}' | {STREAM_URL})\""""


def _model(environment: Environment) -> str:
    settings = environment.settings
    if environment.own_model:
        return f"{settings.default_model}, built in (set OPENAI_API_KEY to use a real one)"
    return f"{settings.default_model} at {settings.openai_base_url or 'OpenAI'}"


def render(environment: Environment, token: str) -> str:
    """Return the screen: addresses, a token, and a command to try."""
    api_url = f"http://127.0.0.1:{environment.settings.port}"
    user, _, password = environment.variables["FLOWER_BASIC_AUTH"].partition(":")
    rows = {
        "API": api_url,
        "Docs": f"{api_url}/docs/",
        "Flower": f"http://127.0.0.1:{environment.variables['FLOWER_PORT']}/  (user {user}, password {password})",
        "Model": _model(environment),
        "Data": str(environment.data_dir),
        "Token": token,
    }
    table = "\n".join(f"  {name:<8}{value}" for name, value in rows.items())
    return f"""
Chatrelay is up.

{table}

Ask something, and watch the answer come:

{curl(api_url, token)}

Ctrl-C ends all of it.
"""
