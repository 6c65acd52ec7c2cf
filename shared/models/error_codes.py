"""Why a job fails: the codes in a job's `error` that are ours. A provider's refusal may have a code of its own instead."""

from enum import StrEnum


class JobErrorCode(StrEnum):
    """Why a job has no answer."""

    PROVIDER_ERROR = "provider_error"  # The provider refused, and gave no code of its own.
    PROVIDER_BROKE_OFF = "provider_broke_off"  # The connection failed, or the answer ended without a finish reason.
    PROVIDER_MALFORMED = "provider_malformed"  # The provider sent something that is not a chunk.
    PROVIDER_EMPTY = "provider_empty"  # The provider said that the answer was over, and had said nothing.
    PROVIDER_STALLED = "provider_stalled"  # The provider was silent for too long.
    PROVIDER_KEY_UNREADABLE = "provider_key_unreadable"  # The user's own key cannot be decrypted, or not be sent in a header.
    CONTENT_FLAGGED = "content_flagged"  # The provider's moderation flagged the message; the model was not asked.
    AGENT_NONE = "agent_none"  # No agent is connected, or none was idle in time.
    AGENT_PING_FAILED = "agent_ping_failed"  # The agent did not answer its ping, or was not free in time.
    AGENT_GONE = "agent_gone"  # The agent of this conversation is not connected.
    AGENT_SEND_FAILED = "agent_send_failed"  # The request could not be sent.
    AGENT_READ_FAILED = "agent_read_failed"  # The agent hung up, sent what is no message, or nothing in time.
    AGENT_WRONG_REPLY = "agent_wrong_reply"  # The agent answered another request.
    AGENT_BAD_ANSWER = "agent_bad_answer"  # The agent reported an error of its own, or its answer cannot be read.
    AGENT_UNREACHABLE = "agent_unreachable"  # Redis, through which agents are reached, is away.
    DEADLINE_EXCEEDED = "deadline_exceeded"  # The job was not over by its deadline.
    WORKER_LOST = "worker_lost"  # Too many workers died while they ran it; or one did, and the answer was not to be restarted.
    DRAINED = "drained"  # Its worker had to stop, and the answer was not to be restarted.
    INTERNAL_ERROR = "internal_error"  # A defect of ours.
