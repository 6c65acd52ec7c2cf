"""The built-in model server: a small OpenAI-compatible HTTP server, for a machine without a key and for every test.

    python -m dev.model [--host 127.0.0.1] [--port 8090] [--api-key KEY]

It has one model, `demo`, which answers in readable sentences, calls the tools it is given and fills JSON schemas. A query
string behind the name makes it a test instrument: `demo?tokens=200&first_ms=300&gap_ms=20` answers `1 2 3 … 200 `, and
others make it fail, drop the connection, stall and send malformed chunks; see `dev/model/options.py` for all of them.

| | |
|---|---|
| POST `/v1/chat/completions` | streamed and whole, with usage and tool calls |
| GET `/v1/models`, `/v1/models/{id}` | |
| POST `/v1/moderations` | flags an input that contains the word `flagme`, as harassment |
| GET `/stats` | what it has counted: see below |
| POST `/stats/reset` | sets all counters to 0, except that of open answers; faults are counted from 1 again |
| GET `/healthz` | |

`/stats` counts `requests` (chat completions asked for), `open_streams` (answers being given now, streamed or whole),
`completed` (ended by the server, an ordered drop included), `disconnects` (clients that left before the end), and in
`by_key` the calls per model string, `|`, first 200 characters of the first user message. `disconnect_clock` has the last
1000 disconnects, each as `[key, time.monotonic_ns()]`.

The paths under `/v1` are also served without it. Any API key is good unless `--api-key` names one; `sk-bad` is always bad.
"""

import argparse
import asyncio
import gc
import resource
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import orjson
import uvloop
from aiohttp import web

from dev.model.answers import answer, moderation_results
from dev.model.options import MODEL_NAME, parse
from dev.model.request import ModelCall, read
from dev.model.stats import CallKey, Stats, call_key
from dev.model.stream import Schedule, Timer, send_stream, send_whole
from dev.model.wire import Completion, Refusal

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8090
BAD_API_KEY = "sk-bad"
MAX_BODY_BYTES = 256 * 1024 * 1024
BACKLOG_CONNECTIONS = 4096
# aiohttp waits this long, twice, for answers to end by themselves; here they need not.
SHUTDOWN_SECONDS = 0.05
# Streams must never run out of files: the usual soft limit is 1024, and this is the most that macOS allows.
WANTED_OPEN_FILES = 10_240
MODEL_CREATED_AT_SECONDS = 1_767_225_600

_OPEN_PATHS = frozenset({"/healthz", "/stats", "/stats/reset"})


class ModelServer:
    """The handlers, and the state that they share."""

    def __init__(self, api_key: str | None) -> None:
        """Accept this API key only; None accepts any but the bad one."""
        self._api_key = api_key
        self._stats = Stats()
        self._timer = Timer()

    def app(self) -> web.Application:
        """Return the application: every path, with and without `/v1`."""
        app = web.Application(middlewares=[self._refusals_as_envelopes], client_max_size=MAX_BODY_BYTES)
        for prefix in ("/v1", ""):
            app.router.add_post(f"{prefix}/chat/completions", self._chat_completions)
            app.router.add_get(f"{prefix}/models", self._models)
            app.router.add_get(prefix + "/models/{id:.+}", self._model)
            app.router.add_post(f"{prefix}/moderations", self._moderations)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/stats", self._show_stats)
        app.router.add_post("/stats/reset", self._reset_stats)
        return app

    @web.middleware
    async def _refusals_as_envelopes(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            self._check_key(request)
            return await handler(request)
        except Refusal as refusal:
            return _refused(refusal)
        except ConnectionError:
            return web.Response()  # the client has left: nobody reads this, but an exception would be logged
        except web.HTTPException as error:  # no such path, no such method, body too large
            return _refused(Refusal(error.status, f"{request.method} {request.path}: {error.reason}."))

    def _check_key(self, request: web.Request) -> None:
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        is_wrong = key == BAD_API_KEY or (self._api_key is not None and key != self._api_key)
        if is_wrong and request.path not in _OPEN_PATHS:
            raise Refusal(401, "Incorrect API key provided.")

    async def _chat_completions(self, request: web.Request) -> web.StreamResponse:
        self._stats.requests += 1
        call = read(await _json_of(request))
        key = call_key(call.model, call.first_user_text)
        call_number = self._stats.count_call(key)
        failure = call.options.failure(call_number)
        if failure is not None:
            raise failure
        return await self._answer(request, call, key, call_number)

    async def _answer(self, request: web.Request, call: ModelCall, key: CallKey, call_number: int) -> web.StreamResponse:
        schedule = Schedule(call.options, self._timer)
        reply = answer(call, call_number)
        chunks = len(reply.tokens)
        fault = call.options.fault(call_number)
        if fault is not None and fault.after_chunk > chunks:
            why = f"{fault.kind}={fault.after_chunk}: the answer has only {chunks} chunks."
            raise Refusal(400, why, param="model", code="invalid_model_option")
        usage = call.options.usage and (call.include_usage or not call.stream)
        completion = Completion(call.model, reply, prompt_tokens=call.prompt_tokens, usage=usage, clock=call.options.clock)
        with self._stats.answering(key):
            send = send_stream if call.stream else send_whole
            return await send(request, completion, chunks, fault, schedule)

    async def _models(self, _request: web.Request) -> web.Response:
        return _json({"object": "list", "data": [_model_card(MODEL_NAME)]})

    async def _model(self, request: web.Request) -> web.Response:
        parse(request.match_info["id"])
        return _json(_model_card(request.match_info["id"]))

    async def _moderations(self, request: web.Request) -> web.Response:
        results = moderation_results(await _json_of(request))
        return _json({"id": "modr-builtin", "model": "omni-moderation-latest", "results": results})

    async def _healthz(self, _request: web.Request) -> web.Response:
        return _json({"status": "ok"})

    async def _show_stats(self, _request: web.Request) -> web.Response:
        return _json(self._stats.as_dict())

    async def _reset_stats(self, _request: web.Request) -> web.Response:
        self._stats.reset()
        return _json(self._stats.as_dict())


async def _json_of(request: web.Request) -> Any:
    try:
        return orjson.loads(await request.read())
    except orjson.JSONDecodeError as error:
        raise Refusal(400, f"The body is not JSON: {error}.") from error


def _json(body: Any) -> web.Response:
    return web.Response(body=orjson.dumps(body), content_type="application/json")


def _refused(refusal: Refusal) -> web.Response:
    return web.Response(status=refusal.status, body=refusal.body(), headers=refusal.headers, content_type="application/json")


def _model_card(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": MODEL_CREATED_AT_SECONDS, "owned_by": "builtin"}


async def serve(host: str, port: int, api_key: str | None) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        OSError: the port cannot be listened on.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    # handler_cancellation: a client that leaves cancels its handler, even in the middle of a long silence.
    runner = web.AppRunner(
        ModelServer(api_key).app(), handler_cancellation=True, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=BACKLOG_CONNECTIONS).start()
        actual_port = runner.addresses[0][1]
        # What startup made stays; without this the collector looks at all of it while streams wait for their chunks.
        gc.collect()
        gc.freeze()
        print(f"The built-in model listens on http://{host}:{actual_port}/v1 (model: {MODEL_NAME})", flush=True)
        await stop.wait()
    finally:
        await runner.cleanup()


def _raise_open_files_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    maximum = WANTED_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, WANTED_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < maximum:
        resource.setrlimit(resource.RLIMIT_NOFILE, (maximum, hard))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m dev.model", description="The built-in OpenAI-compatible model.")
    parser.add_argument("--host", default=DEFAULT_HOST)
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0 takes a free one and prints it")
    parser.add_argument("--api-key", help="accept this key only; by default any key is good")
    options = parser.parse_args(arguments)
    _raise_open_files_limit()
    try:
        uvloop.run(serve(options.host, options.port, options.api_key))
    except (OSError, OverflowError) as error:
        print(f"The built-in model cannot listen on {options.host}:{options.port}: {error}", file=sys.stderr)
        return 1
    return 0
