"""What one API process holds: its parts, and the services made of them. Built by `create_app`, found through the current app.

Only routes, dialects and what stands right below them ask for it; everything else is given what it needs.
"""

from dataclasses import dataclass
from typing import cast

from flask import current_app
from redis import Redis

from api.admin.global_prompt import GlobalPrompt
from api.admin.members import Members
from api.agents.pool import Agents
from api.auth.accounts import Accounts
from api.auth.api_tokens import ApiTokens
from api.auth.authenticator import Authenticator
from api.auth.sessions import Sessions
from api.auth.user_settings import UserSettings
from api.conversations.conversations import Conversations
from api.http.limits import Limits
from api.jobs.jobs import Jobs
from api.jobs.listing import JobLists
from api.jobs.submitter import Submitter
from api.model_list import ModelList
from api.readiness import Readiness
from api.streaming.hub import Hub
from api.streaming.job_logs import JobLogs
from api.streaming.reader_presence import ReaderPresence
from api.webhooks.deliveries import WebhookDeliveries
from api.webhooks.endpoints import WebhookEndpoints
from shared.config import Settings
from shared.database import Database
from shared.queue import Queue
from shared.redis import rights
from shared.security.private_files import protect

EXTENSION = "chatrelay"


@dataclass(frozen=True)
class Context:
    """The parts and services that requests share."""

    config: Settings
    database: Database
    redis: Redis
    queue: Queue
    hub: Hub
    reader_presence: ReaderPresence
    readiness: Readiness
    sessions: Sessions
    limits: Limits
    agents: Agents
    accounts: Accounts
    api_tokens: ApiTokens
    authenticator: Authenticator
    user_settings: UserSettings
    job_logs: JobLogs
    jobs: Jobs
    job_lists: JobLists
    submitter: Submitter
    model_list: ModelList
    conversations: Conversations
    members: Members
    global_prompt: GlobalPrompt
    webhook_endpoints: WebhookEndpoints
    webhook_deliveries: WebhookDeliveries

    def check_surroundings(self) -> None:
        """Check the files and the rights that a process needs, before it serves. By the server, so that importing the app does not.

        Raises:
            ConfigurationError, OSError: something is missing.
        """
        protect(self.config)
        rights.check(self.config.redis_url)


def context() -> Context:
    """Return the current app's parts."""
    return cast("Context", current_app.extensions[EXTENSION])
