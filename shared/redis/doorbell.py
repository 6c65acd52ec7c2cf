"""A doorbell's message, as Celery would send it: its task protocol 2 in the envelope of kombu's Redis transport.

Sources: https://docs.celeryq.dev/en/stable/internals/protocol.html, and `Channel._put` in kombu/transport/redis.py. Celery's own
way to the same message costs ten times the CPU, and each submission sends one. A test compares the two.
"""

import base64
import os
import socket
import uuid

import orjson

from shared.json_types import JsonObject
from shared.redis import keyspace

_OPTIONS = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
_HEADERS: JsonObject = {
    "lang": "py",
    "shadow": None,
    "eta": None,
    "expires": None,
    "group": None,
    "group_index": None,
    "retries": 0,
    "timelimit": (None, None),
    "parent_id": None,
    "kwargsrepr": "{}",
    "origin": f"gen{os.getpid()}@{socket.gethostname()}",
    "ignore_result": True,
    "replaced_task_nesting": 0,
    "stamped_headers": None,
    "stamps": {},
}
_PROPERTIES: JsonObject = {
    "delivery_mode": 2,
    "delivery_info": {"exchange": "", "routing_key": keyspace.DOORBELL_QUEUE},
    "priority": 0,
    "body_encoding": "base64",
}


def message(task: str, item_id: str) -> bytes:
    """Return the message that asks for a task with one argument, an id."""
    task_id = str(uuid.uuid4())
    envelope = {
        "body": base64.b64encode(orjson.dumps(((item_id,), {}, _OPTIONS))).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {**_HEADERS, "task": task, "id": task_id, "root_id": task_id, "argsrepr": f"('{item_id}',)"},
        "properties": {**_PROPERTIES, "correlation_id": task_id, "reply_to": task_id, "delivery_tag": task_id},
    }
    return orjson.dumps(envelope)
