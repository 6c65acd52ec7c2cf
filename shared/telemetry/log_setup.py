"""Structured logs: one JSON object a line, or readable columns, with the ids that are bound to the context."""

import logging
import re
import sys
import warnings
from collections.abc import MutableMapping
from typing import Any, Literal

import structlog
from celery.platforms import SecurityWarning

from shared.telemetry.repeats import LimitRepeats

Format = Literal["auto", "json", "console"]

_TICKET = re.compile(r"(ticket=)[^&\s\"]+")
QUIET = ("httpx2", "httpx", "openai", "aiohttp.access", "celery.app.trace", "celery.worker.strategy", "kombu", "celery.redirected")
"""Libraries that tell each call, or what is no news."""
MEANINGLESS = ("flower.inspector",)
"""Flower asks workers what only some can answer, and warns of each."""


def configure(level: str, log_format: Format) -> None:
    """Send our events and those of the libraries the same way, to standard error, once per process.

    Args:
        level: the least that is shown: DEBUG, INFO, WARNING or ERROR.
        log_format: json, console, or auto, which is console on a terminal.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(LimitRepeats())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _renderer(log_format)],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for names, least in ((QUIET, logging.WARNING), (MEANINGLESS, logging.ERROR)):
        for name in names:
            logging.getLogger(name).setLevel(max(least, root.level))
    _take_warnings(log_format)


def _renderer(log_format: Format) -> structlog.typing.Processor:
    if log_format == "json" or (log_format == "auto" and not sys.stderr.isatty()):
        return structlog.processors.JSONRenderer()
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=24)


def _take_warnings(log_format: Format) -> None:
    """Bring Python's warnings into the log."""
    logging.captureWarnings(capture=True)
    if log_format == "console":  # a developer's own machine
        warnings.filterwarnings("ignore", category=SecurityWarning)


def redacted(text: str) -> str:
    """Redact the tickets in a text: a reader of the logs must not be able to read a job."""
    return _TICKET.sub(r"\1…", text)


def _redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["event"] = redacted(str(event["event"]))
    return event
