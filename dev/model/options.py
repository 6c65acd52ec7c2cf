"""The query string after the built-in model's name, by which a test orders an answer.

| option | what it does |
|---|---|
| `tokens=N` | answer `1 2 3 … N `, one number and a blank per chunk |
| `echo=1` | answer the JSON of the messages as they were received |
| `first_ms=N` | wait this long before the first chunk |
| `gap_ms=N` | wait this long between two chunks |
| `fail=STATUS` | answer with this HTTP status at once; `retry_after=SECONDS` adds the header |
| `drop_at=N` | close the socket after chunk N |
| `stall_at=N` | go silent after chunk N until the client leaves |
| `bad_at=N` | send one malformed chunk after chunk N, then go on |
| `finish=REASON` | end with `stop`, `length` or `content_filter` |
| `fail_times=N` | the fault happens in the first N calls only, counted by model string and first user message |
| `clock=1` | put `time.monotonic_ns()` in each chunk and each delta that is not empty, as `clock` |
| `usage=0` | send no usage even when it is asked for |
| `coalesce=1` | send two chunks of a stream in each write, when the second is due |
| `split=1` | send each chunk of a stream in two writes, cut in the middle |
| `vision=0` | be blind: refuse a request with an image in any of its messages |

One of `fail`, `drop_at`, `stall_at` and `bad_at` at a time, once unless `fail_times` says otherwise; `finish` goes with
any of them and then always holds, and alone it holds always unless `fail_times` is given. Chunks are counted from 1 and
the opening one, with the role, is not counted: after chunk 0 means before any text.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from dev.model.wire import Refusal

MODEL_NAME = "demo"
FIRST_MS = 100
GAP_MS = 20
MAX_TOKENS = 1_000_000
MAX_WAIT_MS = 3_600_000

_FAULTS = ("fail", "drop_at", "stall_at", "bad_at")


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong in the middle of an answer, after so many chunks."""

    kind: str
    after_chunk: int


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one model string; the module says what each one does."""

    tokens: int | None = None
    echo: bool = False
    first_ms: int = FIRST_MS
    gap_ms: int = GAP_MS
    fail: int | None = None
    retry_after: int | None = None
    drop_at: int | None = None
    stall_at: int | None = None
    bad_at: int | None = None
    finish: str | None = None
    fail_times: int | None = None
    clock: bool = False
    usage: bool = True
    coalesce: bool = False
    split: bool = False
    vision: bool = True

    def failure(self, call: int) -> Refusal | None:
        """Return the refusal that this call, counted from 1, gets."""
        if self.fail is None or not self._is_faulty(call):
            return None
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return Refusal(self.fail, f"Call {call} was ordered to fail with status {self.fail}.", headers=headers)

    def fault(self, call: int) -> Fault | None:
        """Return what goes wrong in the middle of this call's answer."""
        for kind in ("drop_at", "stall_at", "bad_at"):
            after_chunk = getattr(self, kind)
            if after_chunk is not None and self._is_faulty(call):
                return Fault(kind, after_chunk)
        return None

    def finish_reason(self, call: int) -> str | None:
        """Return the finish reason that was ordered for this call."""
        alone = all(getattr(self, name) is None for name in _FAULTS)
        if alone and self.fail_times is not None and not self._is_faulty(call):
            return None
        return self.finish

    def _is_faulty(self, call: int) -> bool:
        return call <= (1 if self.fail_times is None else self.fail_times)


def parse(model: str) -> Options:
    """Read a model string.

    Raises:
        Refusal: 404 for another model, 400 for an option that makes no sense, by its name.
    """
    name, _, query = model.partition("?")
    if name != MODEL_NAME:
        raise Refusal(404, f"The model `{model}` does not exist.", param="model", code="model_not_found")
    values: dict[str, Any] = {}
    for option, value in parse_qsl(query, keep_blank_values=True):
        if option not in _READERS:
            raise _refused(option, value, f"unknown option; there are {', '.join(_READERS)}")
        if option in values:
            raise _refused(option, value, "is there twice")
        values[option] = _READERS[option](option, value)
    _check_together(values)
    return Options(**values)


def _check_together(values: dict[str, Any]) -> None:
    """Refuse options that would have no effect: a test that orders a fault must get it."""
    faults = [option for option in _FAULTS if option in values]
    if len(faults) > 1:
        raise _refused(faults[1], values[faults[1]], f"does not go together with {faults[0]}")
    if "retry_after" in values and "fail" not in values:
        raise _refused("retry_after", values["retry_after"], "needs fail")
    if "fail_times" in values and not faults and "finish" not in values:
        raise _refused("fail_times", values["fail_times"], "needs a fault to count")
    if "tokens" in values and values.get("echo"):
        raise _refused("echo", 1, "does not go together with tokens")
    if values.get("split") and values.get("coalesce"):
        raise _refused("split", 1, "does not go together with coalesce")


def _refused(option: str, value: object, why: str) -> Refusal:
    return Refusal(400, f"{option}={value} in the model's name: {why}.", param="model", code="invalid_model_option")


def _integer(minimum: int, maximum: int) -> Callable[[str, str], int]:
    def read(option: str, value: str) -> int:
        # The length comes first: int() refuses to read thousands of digits in its own way.
        is_number = value.isascii() and value.isdigit() and len(value) <= len(str(maximum))
        if not is_number or not minimum <= int(value) <= maximum:
            raise _refused(option, value, f"must be a whole number from {minimum} to {maximum}")
        return int(value)

    return read


def _flag(option: str, value: str) -> bool:
    if value not in ("0", "1"):
        raise _refused(option, value, "must be 0 or 1")
    return value == "1"


def _reason(option: str, value: str) -> str:
    reasons = ("stop", "length", "content_filter")
    if value not in reasons:
        raise _refused(option, value, f"must be one of {', '.join(reasons)}")
    return value


_READERS: dict[str, Callable[[str, str], Any]] = {
    "tokens": _integer(0, MAX_TOKENS),
    "echo": _flag,
    "first_ms": _integer(0, MAX_WAIT_MS),
    "gap_ms": _integer(0, MAX_WAIT_MS),
    "fail": _integer(400, 599),
    "retry_after": _integer(0, MAX_WAIT_MS // 1000),
    "drop_at": _integer(0, MAX_TOKENS),
    "stall_at": _integer(0, MAX_TOKENS),
    "bad_at": _integer(0, MAX_TOKENS),
    "finish": _reason,
    "fail_times": _integer(0, MAX_TOKENS),
    "clock": _flag,
    "usage": _flag,
    "coalesce": _flag,
    "split": _flag,
    "vision": _flag,
}
