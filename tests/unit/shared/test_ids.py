"""Ids under their prefixes."""

import re

from shared import ids


def test_a_new_id_says_what_it_is_and_cannot_be_guessed() -> None:
    assert re.fullmatch(r"job_[0-9a-f]{32}", ids.new_id(ids.JOB))
    assert ids.new_id(ids.JOB) != ids.new_id(ids.JOB)


def test_a_job_has_one_id_for_each_object_type() -> None:
    assert ids.with_prefix(ids.RESPONSE, "job_4f") == "resp_4f"
    assert ids.with_prefix(ids.CHAT_COMPLETION, "job_4f") == "chatcmpl-4f"
    assert ids.job_id("resp_4f", ids.RESPONSE) == "job_4f"
    assert ids.job_id("chatcmpl-4f", ids.CHAT_COMPLETION) == "job_4f"


def test_an_id_under_another_prefix_is_no_jobs() -> None:
    assert ids.job_id("chatcmpl-4f", ids.RESPONSE) is None
    assert ids.job_id("resp_4f", ids.CHAT_COMPLETION) is None
    assert ids.job_id("resp4f", ids.RESPONSE) is None
