"""The Celery app that Flower looks at: `celery -A workers.flower_app flower`."""

from typing import Any

from celery import signals

from shared.config import settings
from shared.queue import make_celery
from shared.telemetry import log_setup

app = make_celery(settings())


def _configure_logs(**_: Any) -> None:
    log_setup.configure(settings().log_level, settings().log_format)


signals.setup_logging.connect(_configure_logs, weak=False)
