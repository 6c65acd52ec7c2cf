"""Every Redis key and channel, and what lies behind it.

| name | type | what | expiry |
|---|---|---|---|
| `chatrelay:log:{<job>}` | stream | a job's log, one event an entry | beyond the deadline; after the end LOG_TTL_SECONDS |
| `chatrelay:live:{<job>}` | channel | the same events as they come; an empty message says: read the log | – |
| `chatrelay:hub:<process>` | channel | keeps a hub's subscription from ever being empty | – |
| `chatrelay:cancel` | channel | ids of jobs whose cancel was asked for | – |
| `chatrelay:epoch` | string | a random word that an emptied Redis has forgotten | none |
| `chatrelay:worker:<worker>` | string | a worker is alive | three renewals |
| `chatrelay:doorbell` | list | Celery's queue; a message is a job id | – |
| `chatrelay:agents` | sorted set | the agents that are there, by their last use (us; 0: never used) | none |
| `chatrelay:agent:<agent>` | string | where an agent's socket is: process, connection, last sign of life | a few seconds |
| `chatrelay:agent-busy:<agent>` | string | the ask that an agent is at | the time an ask may take |
| `chatrelay:agent-outcome:<ask>` | string | what came of an ask, until its worker has read it | a minute |
| `chatrelay:agent-mail:<process>` | channel | asks for the agents whose sockets an API process holds | – |
| `chatrelay:agent-news:<worker>` | channel | what became of a worker's asks | – |
| `chatrelay:models` | string | the provider's models, JSON | a day |
| `chatrelay:models-fresh` | string | the list of models need not be read again yet | five minutes |
| `chatrelay:limit:…` | – | rates, kept by `limits` | their window |
"""

PREFIX = "chatrelay:"
CANCEL_CHANNEL = PREFIX + "cancel"
EPOCH_KEY = PREFIX + "epoch"
WORKER_PATTERN = PREFIX + "worker:*"
DOORBELL_QUEUE = PREFIX + "doorbell"
LIMIT_PREFIX = PREFIX + "limit"
MODELS_KEY = PREFIX + "models"
MODELS_FRESH_KEY = PREFIX + "models-fresh"
AGENTS_KEY = PREFIX + "agents"
AGENT_PREFIX = PREFIX + "agent:"
AGENT_BUSY_PREFIX = PREFIX + "agent-busy:"

_LIVE_PREFIX = PREFIX + "live:{"


def log_key(job_id: str) -> str:
    """Name the stream that holds a job's log. The braces keep a job's names on one cluster slot."""
    return f"{PREFIX}log:{{{job_id}}}"


def live_channel(job_id: str) -> str:
    """Name the channel on which a job's events are published."""
    return f"{_LIVE_PREFIX}{job_id}}}"


def job_of_channel(channel: str) -> str:
    """Return the job whose live channel this is; an empty string for other channels. The reverse of `live_channel`."""
    return channel[len(_LIVE_PREFIX) : -1] if channel.startswith(_LIVE_PREFIX) else ""


def hub_channel(process: str) -> str:
    """Name the channel that a hub keeps subscribed so that its connection is never idle."""
    return f"{PREFIX}hub:{process}"


def worker_key(worker: str) -> str:
    """Name the key that says that a worker is alive."""
    return f"{PREFIX}worker:{worker}"


def agent_key(agent_id: str) -> str:
    """Name the key that says where an agent's socket is."""
    return AGENT_PREFIX + agent_id


def agent_busy_key(agent_id: str) -> str:
    """Name the key that says what an agent is at."""
    return AGENT_BUSY_PREFIX + agent_id


def agent_outcome_key(ask_id: str) -> str:
    """Name the key that holds what came of an ask."""
    return f"{PREFIX}agent-outcome:{ask_id}"


def agent_mail_channel(process: str) -> str:
    """Name the channel on which an API process hears what its agents are asked."""
    return f"{PREFIX}agent-mail:{process}"


def agent_news_channel(worker: str) -> str:
    """Name the channel on which a worker hears what became of its asks."""
    return f"{PREFIX}agent-news:{worker}"
