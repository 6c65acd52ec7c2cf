"""What does it cost to show one answer to many readers of one process? `python -m bench.fan_out [READERS] [TOKENS A SECOND]`."""

import asyncio
import sys
import time

import orjson

from bench.load import Connection
from bench.measuring import Bench, bench, cpu_seconds, summary
from dev.testing.client import Client

READERS = 1_000
TOKENS_PER_SECOND = 20
SECONDS = 10
WAIT_MS = 10_000
"""Until the model's first token: by then all readers are there."""
SAMPLED = 20
"""Of so many readers one looks at the clock: all of them would be what is measured."""


async def _read(port: int, token: str, path: str, lags_ms: list[float] | None, ready: "asyncio.Barrier") -> int:
    connection, events = await Connection.open(port, token), 0
    async for line in connection.lines(path):
        if line.startswith(b"data: "):
            events += 1
            if events == 1:
                await ready.wait()
            elif lags_ms is not None and b'"clock"' in line:
                lags_ms.append((time.monotonic_ns() - orjson.loads(line[6:])["delta"]["clock"]) / 1e6)
    connection.close()
    return events


async def _read_all(running: Bench, token: str, path: str, readers: int) -> None:
    port, lags_ms = int(running.stack.url.rpartition(":")[2]), list[float]()
    ready = asyncio.Barrier(readers + 1)
    samples = [lags_ms if number % SAMPLED == 0 else None for number in range(readers)]
    tasks = [asyncio.create_task(_read(port, token, path, sample, ready)) for sample in samples]
    async with asyncio.timeout(WAIT_MS / 1000):
        await ready.wait()
    web, begun = running.stack.webs[0], cpu_seconds(running.stack.webs[0])
    events = sum(await asyncio.gather(*tasks)) - readers
    spent = cpu_seconds(web) - begun
    print(f"{readers} readers, {events} events delivered: {spent / events * 1e6:.1f} µs of the API's CPU each")
    print(f"  from the model's sending to the reader: {summary(lags_ms, 'ms')}")


def main() -> None:
    """Measure one job with many readers."""
    readers = int(sys.argv[1]) if len(sys.argv) > 1 else READERS
    per_second = int(sys.argv[2]) if len(sys.argv) > 2 else TOKENS_PER_SECOND
    with bench(WEB_CONNECTIONS=str(readers + 500), stand_in=True) as running:
        client = Client(running.stack.url)
        model = f"stand-in?tokens={SECONDS * per_second}&gap_ms={1000 // per_second}&first_ms={WAIT_MS}"
        asyncio.run(_read_all(running, client.token, client.submit(model=model)["stream_url"], readers))
        client.close()


if __name__ == "__main__":
    main()
