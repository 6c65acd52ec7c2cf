"""The names of all keys and channels."""

from shared.redis import keyspace


def test_a_jobs_names_share_a_cluster_slot() -> None:
    assert keyspace.log_key("job_1") == "chatrelay:log:{job_1}"
    assert keyspace.live_channel("job_1") == "chatrelay:live:{job_1}"


def test_a_channel_tells_its_job() -> None:
    assert keyspace.job_of_channel(keyspace.live_channel("job_1")) == "job_1"
    assert keyspace.job_of_channel(keyspace.hub_channel("hub_1")) == ""


def test_every_name_is_ours_and_no_two_are_alike() -> None:
    names = [
        keyspace.log_key("x"),
        keyspace.live_channel("x"),
        keyspace.hub_channel("x"),
        keyspace.CANCEL_CHANNEL,
        keyspace.EPOCH_KEY,
        keyspace.WORKERS_KEY,
        keyspace.READY_KEY,
        keyspace.RIGHTS_KEY,
        keyspace.DOORBELL_QUEUE,
        keyspace.LIMIT_PREFIX,
        keyspace.AGENTS_KEY,
        keyspace.agent_key("x"),
        keyspace.agent_busy_key("x"),
        keyspace.agent_result_key("x"),
        keyspace.agent_inbox_channel("x"),
        keyspace.agent_notice_channel("x"),
    ]

    assert len(set(names)) == len(names)
    assert all(name.startswith("chatrelay:") for name in names)
