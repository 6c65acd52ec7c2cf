"""What does a token cost, and does it come late under load? `python -m bench.tokens [streams] [tokens per second]`."""

import asyncio
import sys
import time

import aiohttp
import orjson

from bench.measuring import Bench, bench, cpu_seconds, summary
from dev.testing.client import Client

SECONDS = 10
STREAMS = 300
TOKENS_PER_SECOND = 50


async def _read(session: aiohttp.ClientSession, url: str, lags_ms: list[float]) -> int:
    tokens = 0
    async with session.get(url) as response:
        async for line in response.content:
            if line.startswith(b"data: ") and b'"clock"' in line:
                lags_ms.append((time.monotonic_ns() - orjson.loads(line[6:])["delta"]["clock"]) / 1e6)
                tokens += 1
    return tokens


async def _read_all(urls: list[str], lags_ms: list[float]) -> int:
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        return sum(await asyncio.gather(*(_read(session, url, lags_ms) for url in urls)))


def measure(running: Bench, streams: int, per_second: int) -> None:
    """Run that many streams at once, and print cost and lateness."""
    client = Client(running.stack.url)
    model = f"demo?tokens={SECONDS * per_second}&gap_ms={1000 // per_second}&first_ms=3000&clock=1"
    urls = [client.submit(model=model)["stream_url"] for _ in range(streams)]
    before = {name: cpu_seconds(process) for name, process in running.processes().items()}
    lags_ms: list[float] = []
    begun = time.monotonic()
    tokens = asyncio.run(_read_all(urls, lags_ms))
    took = time.monotonic() - begun
    print(f"{streams} streams, {tokens} tokens, {tokens / took:.0f} tokens/s; late by {summary(lags_ms, 'ms')}")
    for name, process in running.processes().items():
        print(f"  {name}: {(cpu_seconds(process) - before[name]) / tokens * 1e6:.0f} µs per token")
    client.close()


def main() -> None:
    """Measure one worker and one API process."""
    streams = int(sys.argv[1]) if len(sys.argv) > 1 else STREAMS
    per_second = int(sys.argv[2]) if len(sys.argv) > 2 else TOKENS_PER_SECOND
    with bench(WORKER_CONCURRENCY=str(max(streams, 200))) as running:
        measure(running, streams, per_second)


if __name__ == "__main__":
    main()
