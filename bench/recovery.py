"""How long until a dead worker's job goes on, and until a cancel has closed the model's connection? `python -m bench.recovery`."""

import asyncio
import threading
import time

from bench.measuring import Bench, bench, summary
from dev.testing.client import Client, Reading, read
from dev.testing.stack import wait_until

KILLS = 12
CANCELS = 200
LONG = "demo?tokens=2000&gap_ms=50"


def takeover_seconds(running: Bench, client: Client) -> float:
    """Kill the worker that runs a job; return the seconds until the next attempt's first token."""
    job = client.submit(model=LONG)
    reading = Reading()
    watcher = threading.Thread(
        target=lambda: asyncio.run(read(client.url, job["id"], client.token, reading=reading, seconds=120)), daemon=True
    )
    watcher.start()
    wait_until(lambda: len(reading.events) > 5, "the job to stream")
    owner = next(worker for worker in running.stack.workers if worker.is_running() and job["id"] in worker.log())
    owner.kill()
    killed = time.monotonic()
    wait_until(lambda: reading.events[-1]["type"] == "delta" and _restarted(reading), "the take-over", seconds=60)
    took = time.monotonic() - killed
    client.http.post(f"/jobs/{job['id']}/cancel")
    watcher.join(10)
    running.stack.start_worker()
    return took


def _restarted(reading: Reading) -> bool:
    return any(event["type"] == "restarted" for event in reading.events)


def cancel_ms(running: Bench, client: Client) -> float:
    """Cancel a streaming job; return the milliseconds until the model noticed the disconnect."""
    job = client.submit(model=LONG)
    wait_until(lambda: client.job(job["id"])["text"], "the first token")
    before = int(str(running.stack.stats()["disconnects"]))
    sent = time.monotonic_ns()
    client.http.post(f"/jobs/{job['id']}/cancel")
    wait_until(lambda: int(str(running.stack.stats()["disconnects"])) > before, "the disconnect")
    clocks = running.stack.stats()["disconnect_clock"]
    assert isinstance(clocks, list)
    return float(clocks[-1][1] - sent) / 1e6


def main() -> None:
    """Measure with the default leases, on PostgreSQL."""
    with bench(workers=2) as running:
        client = Client(running.stack.url)
        cancels = [cancel_ms(running, client) for _ in range(CANCELS)]
        print(f"cancel until the provider's socket is closed: {summary(cancels, 'ms')}")
        kills = [takeover_seconds(running, client) for _ in range(KILLS)]
        print(f"SIGKILL of the worker until the next attempt's first token: {summary(kills, 's')}")
        client.close()


if __name__ == "__main__":
    main()
