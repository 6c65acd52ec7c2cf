"""What does an event cost in each dialect, and what is held for its reader? `python -m bench.dialects [readers] [tokens]`."""

import asyncio
import sys
from typing import Any

import aiohttp

from bench.measuring import Bench, bench, cpu_seconds, resident_kib
from dev.testing.client import Client

READERS = 200
TOKENS = 2_000
FIRST_MS = 5_000
OPEN_SECONDS = 300.0


def _begin(client: Client, api: str, model: str) -> tuple[str, str]:
    """Start a job by an API; return its id and the path of its stream."""
    hello = [{"role": "user", "content": "Hello"}]
    if api == "jobs":
        job_id = client.submit(model=model)["id"]
        return job_id, f"/jobs/{job_id}/events"
    body: dict[str, Any] = {"model": model, "input": "Hello", "background": True}
    if api == "responses":
        job_id = client.http.post("/v1/responses", json=body).headers["x-chatrelay-job-id"]
        return job_id, f"/v1/responses/resp_{job_id.removeprefix('job_')}?stream=true"
    body = {"model": model, "messages": hello, "stream": True}
    with client.http.stream("POST", "/v1/chat/completions", json=body) as response:
        job_id = response.headers["x-chatrelay-job-id"]
    return job_id, f"/v1/chat/completions/chatcmpl-{job_id.removeprefix('job_')}/stream"


async def _hold(session: aiohttp.ClientSession, path: str, last: bytes, arrived: list[int]) -> None:
    events = 0
    async with session.get(path) as response:
        async for line in response.content:
            events += line.startswith(b"data: ")
            if last in line:
                arrived.append(events)


async def _measure(running: Bench, client: Client, api: str, readers: int, tokens: int) -> None:
    model = f"demo?tokens={tokens + 1}&first_ms={FIRST_MS}&gap_ms=5&stall_at={tokens}"
    job_id, path = _begin(client, api, model)
    web = running.stack.webs[0]
    headers = {"Authorization": f"Bearer {client.token}"}
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(running.stack.url, connector=connector, timeout=timeout, headers=headers) as session:
        arrived: list[int] = []
        cpu_before, kib_before = cpu_seconds(web), resident_kib(web)
        following = [asyncio.create_task(_hold(session, path, b'"%d "' % tokens, arrived)) for _ in range(readers)]
        async with asyncio.timeout(OPEN_SECONDS):
            while len(arrived) < readers:
                await asyncio.sleep(0.1)
        cpu, kib = cpu_seconds(web) - cpu_before, resident_kib(web) - kib_before
        print(f"{api}: {cpu / sum(arrived) * 1e6:.1f} µs per event, {kib / readers:.1f} KiB per reader with {tokens} tokens read")
        client.http.post(f"/jobs/{job_id}/cancel")
        await asyncio.gather(*following)


def main() -> None:
    """Measure each API on a new process: memory that an earlier one has freed would hide what is held."""
    readers = int(sys.argv[1]) if len(sys.argv) > 1 else READERS
    tokens = int(sys.argv[2]) if len(sys.argv) > 2 else TOKENS
    for api in ("jobs", "responses", "chat"):
        with bench(STALL_SECONDS="3600", WEB_CONNECTIONS=str(readers + 500)) as running:
            client = Client(running.stack.url)
            asyncio.run(_measure(running, client, api, readers, tokens))
            client.close()


if __name__ == "__main__":
    main()
