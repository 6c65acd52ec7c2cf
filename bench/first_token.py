"""How much later than the model's own sending does a client see the first token, without load? `python -m bench.first_token`."""

import time

import httpx2
import orjson

from bench.measuring import bench, summary
from dev.testing.client import Client

JOBS = 200
FIRST_MS = 50
AWAY_MS = 2
"""What a round trip to Redis or to PostgreSQL takes longer."""
MODEL = f"demo?tokens=3&first_ms={FIRST_MS}&gap_ms=5&clock=1"


def once(client: Client) -> dict[str, float]:
    """Submit a job, read its first token, and return where the milliseconds went."""
    begun = time.monotonic_ns()
    job = client.submit(model=MODEL)
    accepted = time.monotonic_ns()
    with client.http.stream("GET", job["stream_url"]) as response:
        for line in response.iter_lines():
            if line.startswith("data: ") and '"delta"' in line:
                seen = time.monotonic_ns()
                sent = orjson.loads(line[6:])["delta"]["clock"]
                break
    view = client.finished(job["id"])
    return {
        "POST answered after": (accepted - begun) / 1e6,
        "claimed after (database's clock)": float(view["timings"]["queued_ms"]),
        "model sent the token after": (sent - begun) / 1e6 - FIRST_MS,
        "client saw it after the model sent it": (seen - sent) / 1e6,
        "in all, less the model's own wait": (seen - begun) / 1e6 - FIRST_MS,
    }


def main() -> None:
    """Measure on PostgreSQL, on SQLite, and with Redis and PostgreSQL at a distance."""
    for name, postgres, away_ms in (("PostgreSQL", True, 0), ("SQLite", False, 0), (f"{AWAY_MS} ms away", True, AWAY_MS)):
        with bench(postgres=postgres, away_ms=away_ms) as running:
            client = Client(running.stack.url)
            once(client)
            results = [once(client) for _ in range(JOBS)]
            client.close()
        print(name)
        for part in results[0]:
            print(f"  {part}: {summary([result[part] for result in results], 'ms')}")


if __name__ == "__main__":
    try:
        main()
    except httpx2.HTTPError as error:
        raise SystemExit(f"the API does not answer: {error}") from None
