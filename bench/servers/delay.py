"""A TCP proxy that delays what passes, each way, as a distance would.

    python -m bench.servers.delay --listen 7000 --to 6379 --ms 1

Bytes stay in order; how many pass at once is not bounded.
"""

import argparse
import asyncio
import contextlib

import uvloop


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """Pass bytes on, each so much later than it came; at the end close the other side."""
    loop = asyncio.get_running_loop()
    while received := await reader.read(2**16):
        loop.call_later(seconds, writer.write, received)
    loop.call_later(seconds, writer.close)


async def _connect(near: asyncio.StreamReader, back: asyncio.StreamWriter, to: int, seconds: float) -> None:
    with contextlib.suppress(OSError):  # one side is gone, and the other is closed with it
        far, away = await asyncio.open_connection("127.0.0.1", to)
        await asyncio.gather(_pass_on(near, away, seconds), _pass_on(far, back, seconds))
    back.close()


async def _serve(listen: int, to: int, seconds: float) -> None:
    server = await asyncio.start_server(lambda near, back: _connect(near, back, to, seconds), "127.0.0.1", listen)
    await server.serve_forever()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description="A TCP proxy that delays what passes, each way.")
    parser.add_argument("--listen", type=int, required=True, help="the port to listen on")
    parser.add_argument("--to", type=int, required=True, help="the port to connect to")
    parser.add_argument("--ms", type=float, required=True, help="milliseconds each way")
    given = parser.parse_args()
    uvloop.run(_serve(given.listen, given.to, given.ms / 1000))


if __name__ == "__main__":
    main()
