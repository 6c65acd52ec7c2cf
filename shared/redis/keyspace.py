"""Every Redis key and channel, and what lies behind it.

| name | type | what | expiry |
|---|---|---|---|
| `chatrelay:log:{<job>}` | stream | a job's log, one event an entry | beyond the deadline; after the end LOG_TTL_SECONDS |
| `chatrelay:live:{<job>}` | channel | the same events as they come; an empty message means: read the log | – |
| `chatrelay:hub:<process>` | channel | keeps a hub's subscription from ever being empty | – |
| `chatrelay:cancel` | channel | ids of jobs that are to be cancelled | – |
| `chatrelay:epoch` | string | a random word that an emptied Redis has forgotten | none |
| `chatrelay:workers` | sorted set | the workers by when they last showed themselves (s, Redis' clock) | none |
| `chatrelay:ready`, `chatrelay:rights` | any | what `/readyz`, and a check at the start, write to | a minute |
| `_kombu.binding.chatrelay-rights` | set | as `chatrelay:rights`, among the keys of Celery's transport | at once |
| `chatrelay:doorbell` | list | Celery's queue; a message is a job id | – |
| `chatrelay:agents` | sorted set | the agents that are connected, by their last use (us; 0: never used) | none |
| `chatrelay:agent:<agent>` | string | where an agent's socket is: process, connection, last good answer | a few seconds |
| `chatrelay:agent-busy:<agent>` | string | the request that an agent works on | the time a request may take |
| `chatrelay:agent-outcome:<request>` | string | a request's result, until its worker has read it | a minute |
| `chatrelay:agent-mail:<process>` | channel | requests to the agents whose sockets an API process holds | – |
| `chatrelay:agent-news:<worker>` | channel | notices of what becomes of a worker's requests to agents | – |
| `chatrelay:readers` | sorted set | foreground answers by when they were last read (s, Redis' clock) | none |
| `chatrelay:models` | string | the provider's models, JSON | a day |
| `chatrelay:models-fresh` | string | the list of models need not be read again yet | five minutes |
| `chatrelay:submissions:<user>` | list | moments of the submissions that SUBMIT_LIMIT counts | its window |
| `chatrelay:limit:…` | – | other rates, kept by `limits` | their window |
"""

PREFIX = "chatrelay:"
CANCEL_CHANNEL = PREFIX + "cancel"
EPOCH_KEY = PREFIX + "epoch"
WORKERS_KEY = PREFIX + "workers"
READY_KEY = PREFIX + "ready"
RIGHTS_KEY = PREFIX + "rights"
BROKER_RIGHTS_KEY = "_kombu.binding.chatrelay-rights"
DOORBELL_QUEUE = PREFIX + "doorbell"
LIMIT_PREFIX = PREFIX + "limit"
READERS_KEY = PREFIX + "readers"
MODELS_KEY = PREFIX + "models"
MODELS_FRESH_KEY = PREFIX + "models-fresh"
AGENTS_KEY = PREFIX + "agents"
AGENT_PREFIX = PREFIX + "agent:"
AGENT_BUSY_PREFIX = PREFIX + "agent-busy:"

_LIVE_PREFIX = PREFIX + "live:{"


def log_key(job_id: str) -> str:
    """Return the stream that holds a job's log. The braces keep a job's names on one cluster slot."""
    return f"{PREFIX}log:{{{job_id}}}"


def live_channel(job_id: str) -> str:
    """Return the channel on which a job's events are published."""
    return f"{_LIVE_PREFIX}{job_id}}}"


def job_of_channel(channel: str) -> str:
    """Return the job whose live channel this is; an empty string for other channels. The reverse of `live_channel`."""
    return channel[len(_LIVE_PREFIX) : -1] if channel.startswith(_LIVE_PREFIX) else ""


def hub_channel(process: str) -> str:
    """Return the channel that a hub keeps subscribed so that its connection is never idle."""
    return f"{PREFIX}hub:{process}"


def submissions_key(user_id: str) -> str:
    """Return the list of a user's latest submissions."""
    return f"{PREFIX}submissions:{user_id}"


def agent_key(agent_id: str) -> str:
    """Return the key that says where an agent's socket is."""
    return AGENT_PREFIX + agent_id


def agent_busy_key(agent_id: str) -> str:
    """Return the key that holds the request that an agent works on."""
    return AGENT_BUSY_PREFIX + agent_id


def agent_result_key(request_id: str) -> str:
    """Return the key that holds a request's result."""
    return f"{PREFIX}agent-outcome:{request_id}"


def agent_inbox_channel(process: str) -> str:
    """Return the channel on which an API process receives its agents' requests."""
    return f"{PREFIX}agent-mail:{process}"


def agent_notice_channel(worker: str) -> str:
    """Return the channel on which a worker is notified of its requests to agents."""
    return f"{PREFIX}agent-news:{worker}"
