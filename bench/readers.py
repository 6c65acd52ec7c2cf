"""What does an idle reader cost? 2,000 on one API process: memory each, connections to Redis. `python -m bench.readers`."""

import asyncio
import sys

import aiohttp

from bench.measuring import bench, group, resident_kib
from dev.testing.client import Client
from dev.testing.stack import wait_until

READERS = 2_000
JOBS = 20
MODEL = "demo?tokens=10&first_ms=600000"


async def _hold(url: str, session: aiohttp.ClientSession, opened: list[str]) -> None:
    async with session.get(url) as response:
        async for line in response.content:
            if b'"started"' in line:
                opened.append(url)


async def _open_all(urls: list[str], measure: "asyncio.Event", done: "asyncio.Event") -> None:
    opened: list[str] = []
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        tasks = [asyncio.create_task(_hold(url, session, opened)) for url in urls]
        async with asyncio.timeout(120):
            while len(opened) < len(urls):
                await asyncio.sleep(0.1)
        measure.set()
        await done.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def main() -> None:
    """Measure."""
    readers = int(sys.argv[1]) if len(sys.argv) > 1 else READERS
    with bench(WEB_CONNECTIONS=str(readers + 500)) as running:
        client = Client(running.stack.url)
        urls = [client.submit(model=MODEL)["stream_url"] for _ in range(JOBS)]
        wait_until(lambda: int(str(running.stack.stats()["open_streams"])) == JOBS, "the jobs to run")
        web = running.stack.webs[0]

        async def measured() -> None:
            before = resident_kib(web)
            ready, done = asyncio.Event(), asyncio.Event()
            opening = asyncio.create_task(_open_all([urls[index % JOBS] for index in range(readers)], ready, done))
            await ready.wait()
            after = resident_kib(web)
            subscribers = [entry for entry in running.redis.client.client_list() if int(entry["sub"]) > 0]
            ours = len(group(web))
            print(f"{readers} readers: {(after - before) / readers:.1f} KiB each ({before} → {after} KiB, {ours} processes)")
            print(f"subscribed connections to Redis, worker's cancel listener and Celery's own included: {len(subscribers)}")
            hub = [entry for entry in subscribers if int(entry["sub"]) > JOBS]
            print(f"of these the API's: {len(hub)}, on {[entry['sub'] for entry in hub]} channels")
            done.set()
            await opening

        asyncio.run(measured())
        client.close()


if __name__ == "__main__":
    main()
