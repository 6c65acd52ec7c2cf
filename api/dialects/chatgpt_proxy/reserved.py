"""The words that cannot be a chat's id, because other paths begin with them."""

from werkzeug.routing import BaseConverter

RESERVED = frozenset(
    {
        *("account", "admin", "agents", "api", "auth", "chat", "client", "conversations", "docs", "health", "healthz", "jobs"),
        *("metrics", "mod", "openapi", "openapi.json", "readyz", "static", "swagger", "swagger-json", "system", "user", "v1"),
    }
)


class ChatId(BaseConverter):
    """Matches one segment of a path that is none of the reserved words, so that no two routes can take the same request."""

    regex = rf"(?!(?:{'|'.join(sorted(word.replace('.', '[.]') for word in RESERVED))})/)[^/]+"
