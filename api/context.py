"""What one API process holds: settings, database, Redis, the hub. Built by `create_app`, found through the current app."""

from dataclasses import dataclass
from typing import cast

from flask import current_app
from redis import Redis

from api.agents.pool import Agents
from api.http.limits import Limits
from api.streaming.hub import Hub
from shared.config import Settings
from shared.database import Database
from shared.queue import Queue

EXTENSION = "chatrelay"


@dataclass(frozen=True)
class Context:
    """The parts that requests share."""

    config: Settings
    database: Database
    redis: Redis
    queue: Queue
    hub: Hub
    limits: Limits
    agents: Agents


def context() -> Context:
    """Find the current app's parts."""
    return cast("Context", current_app.extensions[EXTENSION])
