"""A cheap HTTP client for benchmarks: one raw connection, requests one after another, SSE read line by line."""

import asyncio
from collections.abc import AsyncIterator

import orjson

CHUNKED = b"transfer-encoding: chunked"


class Connection:
    """One kept-alive connection to an HTTP/1.1 server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str) -> None:
        """Keep both ends, and the bearer token of every request."""
        self._reader = reader
        self._writer = writer
        self._authorization = f"Authorization: Bearer {token}\r\n" if token else ""

    @classmethod
    async def open(cls, port: int, token: str = "") -> "Connection":
        """Connect to a port of this machine."""
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=2**20), token)

    def close(self) -> None:
        """Close it."""
        self._writer.close()

    async def post(self, path: str, body: dict[str, object], headers: str = "") -> bytes:
        """Send a body and return the answer's."""
        await self._begin_post(path, body, headers)
        return b"".join([part async for part in self._body()])

    async def lines(self, path: str) -> AsyncIterator[bytes]:
        """Read a stream's lines up to its end."""
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\n{self._authorization}\r\n".encode())
        async for line in self._lines():
            yield line

    async def post_lines(self, path: str, body: dict[str, object], headers: str = "") -> AsyncIterator[bytes]:
        """Send a body and read the answering stream's lines up to its end."""
        await self._begin_post(path, body, headers)
        async for line in self._lines():
            yield line

    async def _begin_post(self, path: str, body: dict[str, object], headers: str) -> None:
        data = orjson.dumps(body)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(data)}\r\n{self._authorization}{headers}\r\n"
        )
        self._writer.write(head.encode() + data)

    async def _lines(self) -> AsyncIterator[bytes]:
        rest = b""
        async for part in self._body():
            *lines, rest = (rest + part).split(b"\n")
            for line in lines:
                yield line

    async def _body(self) -> AsyncIterator[bytes]:
        """Yield the parts of an answer's body. Raises a RuntimeError for one that is no success."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        if CHUNKED in lines:
            while size := int((await self._reader.readline()).strip() or b"0", 16):
                yield (await self._reader.readexactly(size + 2))[:-2]
            await self._reader.readexactly(2)
            body = b""
        else:
            sizes = [int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:")]
            body = await self._reader.readexactly(sizes[0] if sizes else 0)
            yield body
        if not head.startswith(b"HTTP/1.1 2"):
            raise RuntimeError((head + body).decode())
