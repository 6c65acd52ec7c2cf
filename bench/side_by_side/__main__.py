"""This project and other gateways, one after another, before one model and under one load: `python -m bench.side_by_side`.

Its arguments are the number of streams and their rate (tokens a second).
For each: how much later the first token comes than from the model itself, and what a token costs and how late it is while that many
streams talk at that rate (tokens a second each). CPU is that of all of a gateway's processes; a database's is not counted.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import orjson

from bench.load import Connection
from bench.measuring import cpu_seconds, percentile
from bench.side_by_side import gateways
from bench.side_by_side.gateways import Endpoint, Model, Skipped
from dev.testing.stack import Process, free_port, is_up, wait_until

STREAMS = 100
TOKENS_PER_SECOND = 50
SECONDS = 10
GATHER_MS = 2_000
"""Until a stream's first token, so that all streams talk at the same time."""
SINGLE = 100
WARM = 20
ANSWER_SECONDS = 120.0


class Figures(NamedTuple):
    """What was measured of one endpoint: first token (ms), CPU per token (us), lag (ms), tokens a second."""

    name: str
    first_ms: list[float]
    cpu_us: float
    lags_ms: list[float]
    per_second: float


async def _contents(connection: Connection, endpoint: Endpoint, model: str) -> AsyncIterator[bytes]:
    """Ask for an answer and yield the lines that carry a token."""
    body: dict[str, object] = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
    if endpoint.own:
        job = orjson.loads(await connection.post("/jobs", body))
        lines = connection.lines(f"/jobs/{job['id']}/events")
    else:
        lines = connection.post_lines(endpoint.path, {**body, "stream": True}, endpoint.headers)
    async for line in lines:
        if line.startswith(b"data: {") and b'"content":"' in line.replace(b'": "', b'":"'):
            yield line


def _clock(line: bytes) -> int:
    """Return when the model sent a token, ns: its text says so. 0 for a line without one."""
    event = orjson.loads(line[6:])
    delta = event["delta"] if "delta" in event else event["choices"][0]["delta"]
    return int(delta.get("content") or 0)


async def _first_token(connection: Connection, endpoint: Endpoint) -> float:
    begun, first = time.monotonic(), 0.0
    async for _ in _contents(connection, endpoint, "stand-in?tokens=1&text=clock"):
        first = first or time.monotonic()
    return (first - begun) * 1000


async def _stream(endpoint: Endpoint, model: str, lags_ms: list[float]) -> None:
    connection = await Connection.open(endpoint.port, endpoint.token)
    async for line in _contents(connection, endpoint, model):
        if sent := _clock(line):
            lags_ms.append((time.monotonic_ns() - sent) / 1e6)
    connection.close()


async def _measured(endpoint: Endpoint, streams: int, rate: int) -> Figures:
    connection = await Connection.open(endpoint.port, endpoint.token)
    first_ms = [await _first_token(connection, endpoint) for _ in range(WARM + SINGLE)][WARM:]
    connection.close()
    lags_ms: list[float] = []
    model = f"stand-in?tokens={SECONDS * rate}&gap_ms={1000 / rate}&first_ms={GATHER_MS}&text=clock"
    before, begun = _cpu(endpoint.processes), time.monotonic()
    async with asyncio.timeout(ANSWER_SECONDS):
        await asyncio.gather(*(_stream(endpoint, model, lags_ms) for _ in range(streams)))
    took = time.monotonic() - begun - GATHER_MS / 1000
    return Figures(endpoint.name, first_ms, (_cpu(endpoint.processes) - before) / len(lags_ms) * 1e6, lags_ms, len(lags_ms) / took)


def _cpu(processes: tuple[Process, ...]) -> float:
    return sum(cpu_seconds(process) for process in processes)


def _row(figures: Figures, model: Figures) -> str:
    added = [percentile(figures.first_ms, share) - percentile(model.first_ms, share) for share in (0.5, 0.95)]
    lags = [percentile(figures.lags_ms, share) for share in (0.5, 0.99)]
    first, late = f"{added[0]:.1f} / {added[1]:.1f}", f"{lags[0]:.0f} / {lags[1]:.0f}"
    return f"| {figures.name} | {first} | {figures.cpu_us:.0f} | {late} | {figures.per_second:.0f} |"


def _report(results: list[Figures]) -> None:
    print("| | first token added, idle, p50 / p95 (ms) | CPU per token (µs) | lag p50 / p99 (ms) | tokens/s |")
    print("|---|---|---|---|---|")
    for figures in results:
        print(_row(figures, results[0]))


def main() -> None:
    """Measure all that can be had here."""
    streams = int(sys.argv[1]) if len(sys.argv) > 1 else STREAMS
    rate = int(sys.argv[2]) if len(sys.argv) > 2 else TOKENS_PER_SECOND
    results: list[Figures] = []
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        model = Process("stand-in", [sys.executable, "-m", "bench.servers.stand_in", "--port", str(port)], {}, folder)
        wait_until(lambda: is_up(f"http://127.0.0.1:{port}/v1/models"), "the stand-in model")
        for opening in gateways.ALL:
            try:
                with opening(Model(model, port, folder)) as opened:
                    results += [asyncio.run(_measured(endpoint, streams, rate)) for endpoint in opened]
                    print(f"measured: {', '.join(endpoint.name for endpoint in opened)}", flush=True)
            except (Skipped, RuntimeError, OSError) as error:  # a gateway that answers with an error does not keep the others away
                print(f"skipped: {opening.__name__}: {str(error).splitlines()[0]}", flush=True)
        model.kill()
    _report(results)


if __name__ == "__main__":
    main()
