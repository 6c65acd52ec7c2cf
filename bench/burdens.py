"""Does a job cost more where much lies about? Finished jobs, waiting jobs, a long conversation: `python -m bench.burdens [JOBS]`.

On PostgreSQL. The rows are written straight into the database, and its statistics are brought up to date.
"""

import sys

from sqlalchemy import Engine, create_engine, text

from bench.jobs import AT_ONCE, MODEL, USERS, measure
from bench.measuring import Bench, bench
from dev.testing.client import Client

JOBS = 400
TURNS = 60
FINISHED = 1_000_000
WAITING = 10_000
MESSAGES = 1_000
MESSAGE = "One of the words of a long conversation. " * 5
CONTEXT_TOKENS = 1_000
"""About twenty of the messages."""

_JOBS = """
    INSERT INTO jobs (id, user_id, status, kind, model, request, on_interrupt, labels, wire, stored, attempt, log_seq, deadline_ms,
        provider_errors, lost_workers, created_ms, finished_ms, not_before_ms, log_closed)
    SELECT 'job_' || status || number, (SELECT min(id) FROM users), status, 'chat', 'demo', '{}', 'restart', '{}', 'job', true, 1,
        2, 4102444800000, 0, 0, now_ms - number, CASE WHEN status = 'completed' THEN now_ms END,
        CASE WHEN status = 'queued' THEN 4102444800000 END, true
    FROM generate_series(1, :count) AS number,
        (SELECT CAST(extract(epoch FROM now()) * 1000 AS BIGINT) AS now_ms, CAST(:status AS TEXT) AS status) AS fixed
"""
_MESSAGES = """
    INSERT INTO messages (id, conversation_id, parent_id, role, body, created_ms)
    SELECT 'msg_long' || number, :conversation, CASE WHEN number > 1 THEN 'msg_long' || number - 1 END,
        CASE WHEN number % 2 = 1 THEN 'user' ELSE 'assistant' END, json_build_object('content', CAST(:message AS TEXT)), number
    FROM generate_series(1, :count) AS number
"""
_LEAF = "UPDATE conversations SET leaf_id = 'msg_long' || :count WHERE id = :conversation"


def _add_jobs(engine: Engine, status: str, count: int) -> None:
    with engine.begin() as connection:
        connection.execute(text(_JOBS), {"status": status, "count": count})
        connection.execute(text("ANALYZE jobs"))


def _lengthen(engine: Engine, conversation: str) -> None:
    values = {"conversation": conversation, "message": MESSAGE, "count": MESSAGES}
    with engine.begin() as connection:
        connection.execute(text(_MESSAGES), values)
        connection.execute(text(_LEAF), values)
        connection.execute(text("ANALYZE messages"))


def _turns(running: Bench, engine: Engine, client: Client) -> None:
    for name in ("a new conversation", f"a conversation of {MESSAGES} messages"):
        first = client.submit(model=MODEL)
        client.finished(first["id"])
        if str(MESSAGES) in name:
            _lengthen(engine, first["conversation_id"])
        turn: dict[str, object] = {"model": MODEL, "message": "Hello", "conversation_id": first["conversation_id"]}
        measure(running, f"turns of {name}", [client.token], TURNS, 1, turn)


def main() -> None:
    """Measure as the burdens come one on top of the other."""
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else JOBS
    whole: dict[str, object] = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}
    with bench(stand_in=True, CONTEXT_TOKENS=str(CONTEXT_TOKENS), MAX_QUEUE=str(10 * WAITING)) as running:
        engine = create_engine(running.stack.environment["DATABASE_URL"])
        clients = [Client(running.stack.url) for _ in range(USERS)]
        tokens = [client.token for client in clients]
        measure(running, "nothing about", tokens, jobs, AT_ONCE, whole)
        _add_jobs(engine, "completed", FINISHED)
        measure(running, f"{FINISHED:,} finished jobs", tokens, jobs, AT_ONCE, whole)
        _turns(running, engine, clients[0])
        _add_jobs(engine, "queued", WAITING)
        measure(running, f"and {WAITING:,} that wait for a retry", tokens, jobs, AT_ONCE, whole)
        engine.dispose()
        for client in clients:
            client.close()


if __name__ == "__main__":
    main()
