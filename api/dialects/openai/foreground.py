"""Answers in the foreground: their client waits for them, and has no other way to stop them than to hang up."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

from flask import request

from api.context import context
from shared.models import Job

SOCKET = "gunicorn.socket"


def wait_for_end(job: Job) -> Job:
    """Wait until a job is over, as one of its readers; see `Jobs.wait_for_end`."""
    with reading(job):
        return context().jobs.wait_for_end(job)


def while_read(job: Job, frames: Iterator[bytes]) -> Iterator[bytes]:
    """Return a stream whose client is one of the job's readers, for as long as it reads."""
    if _in_background(job):
        return frames
    return context().reader_presence.while_read(job.id, request.environ.get(SOCKET), frames)


def reading(job: Job) -> AbstractContextManager[None]:
    """Count this request's client as one of a job's readers for as long as the block runs."""
    return nullcontext() if _in_background(job) else context().reader_presence.reading(job.id, request.environ.get(SOCKET))


def _in_background(job: Job) -> bool:
    return bool((job.wire_request or {}).get("background")) or job.status.is_terminal
