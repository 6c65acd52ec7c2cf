"""A client of our API: accounts, jobs, and a reader that behaves as a browser's EventSource does."""

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp
import httpx2
import orjson

AGAIN_SECONDS = 0.1
TERMINAL = {"completed", "failed", "cancelled", "incomplete"}
PASSWORD = "a password for tests"


def counted(tokens: int) -> str:
    """Return the model's answer of so many tokens."""
    return "".join(f"{number} " for number in range(1, tokens + 1))


class Client:
    """One user of one API process."""

    def __init__(self, url: str, token: str | None = None) -> None:
        """Register a new user, or use a token of an existing one."""
        self.url = url
        # Nothing is encrypted here, and reading the system's certificates takes 40 ms.
        self.http = httpx2.Client(base_url=url, timeout=70, verify=False)
        self.token = token or self._register()
        self.http.headers["Authorization"] = f"Bearer {self.token}"

    def _register(self) -> str:
        credentials = {"username": f"user-{secrets.token_hex(8)}", "password": PASSWORD}
        assert self.http.post("/auth/register", json=credentials).status_code == 201
        login = self.http.post("/auth/login", json=credentials)
        assert login.status_code == 201, login.text
        token: str = login.json()["access_token"]
        return token

    def submit(self, message: str = "Hello", *, headers: dict[str, str] | None = None, **body: Any) -> dict[str, Any]:
        """Submit a job that must be accepted."""
        response = self.http.post("/jobs", json={"message": message, **body}, headers=headers)
        assert response.status_code == 202, response.text
        accepted: dict[str, Any] = response.json()
        return accepted

    def job(self, job_id: str, wait: int | None = None) -> dict[str, Any]:
        """Return a job; with `wait`, after its end or so many seconds."""
        response = self.http.get(f"/jobs/{job_id}", headers={"Prefer": f"wait={wait}"} if wait else None)
        assert response.status_code == 200, response.text
        job: dict[str, Any] = response.json()
        return job

    def finished(self, job_id: str) -> dict[str, Any]:
        """Wait for a job's end, and return it."""
        for _ in range(10):
            job = self.job(job_id, wait=30)
            if job["status"] in TERMINAL:
                return job
        raise AssertionError(f"{job_id} does not end")

    def events(self, job_id: str, after: int = 0) -> "Reading":
        """Read a job's events to the end."""
        return asyncio.run(read(self.url, job_id, self.token, after=after))

    def __enter__(self) -> Self:
        """Close the client at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the client."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self.http.close()


@dataclass
class Reading:
    """What a reader has received: every event, the text it would show, and how often it connected."""

    cursor: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)
    text: str = ""
    shown: list[str] = field(default_factory=list)
    heartbeats: int = 0
    connections: int = 0

    @property
    def last(self) -> dict[str, Any]:
        """Return the last event."""
        return self.events[-1]

    @property
    def seqs(self) -> list[int]:
        """Return the sequence numbers, in the order they came."""
        return [event["seq"] for event in self.events]

    @property
    def is_over(self) -> bool:
        """Return whether the terminal event was received."""
        return bool(self.events) and self.last["type"] in TERMINAL

    def take(self, event: dict[str, Any]) -> None:
        """Append an event."""
        self.events.append(event)
        self.cursor = event["seq"]
        if event["type"] == "restarted":
            self.text = ""
        elif event["type"] == "delta":
            self.text += event["delta"].get("content") or ""

    def assert_dense(self, after: int = 0) -> None:
        """Assert that every number after the cursor came once, in order."""
        assert self.seqs == list(range(after + 1, after + 1 + len(self.seqs)))


async def read(
    url: str | Sequence[str],
    job_id: str,
    token: str,
    *,
    after: int = 0,
    leave_at: Sequence[int] = (),
    session: aiohttp.ClientSession | None = None,
    reading: Reading | None = None,
    seconds: float = 90.0,
) -> Reading:
    """Read a job to its end as an EventSource does: connect again with the last id after every interruption.

    Args:
        url: an API process' address, or several to connect to in turn.
        job_id: the job.
        token: the reader's access token.
        after: where to begin.
        leave_at: disconnect after each of these numbers of events, and connect again.
        session: an HTTP client to share.
        reading: where to store what is received, for a test that looks meanwhile.
        seconds: the time-out.
    """
    urls = [url] if isinstance(url, str) else url
    seen = reading or Reading()
    seen.cursor = after
    leaving = set(leave_at)
    own = session or aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None))
    try:
        async with asyncio.timeout(seconds):
            while not seen.is_over:
                target = f"{urls[seen.connections % len(urls)]}/jobs/{job_id}/events"
                seen.connections += 1
                if await _connect(own, target, token, seen, leaving):
                    break
    finally:
        if session is None:
            await own.close()
    return seen


async def _connect(session: aiohttp.ClientSession, url: str, token: str, seen: Reading, leaving: set[int]) -> bool:
    """Read one connection; return whether nothing more can come."""
    headers = {"Authorization": f"Bearer {token}", "Last-Event-ID": str(seen.cursor)}
    try:
        async with session.get(url, headers=headers) as response:
            if response.status == 204:
                return True
            if response.status == 200:
                return await _consume(response, seen, leaving)
            assert response.status >= 500, (response.status, await response.text())
    except aiohttp.ClientError:
        pass
    await asyncio.sleep(AGAIN_SECONDS)
    return False


async def _consume(response: aiohttp.ClientResponse, seen: Reading, leaving: set[int]) -> bool:
    async for line in response.content:
        if line.startswith(b": "):
            seen.heartbeats += 1
        elif line.startswith(b"data: "):
            seen.take(orjson.loads(line[6:]))
            if len(seen.events) in leaving:
                leaving.discard(len(seen.events))
                return False
            if seen.is_over:
                return True
    await asyncio.sleep(AGAIN_SECONDS)
    return False
