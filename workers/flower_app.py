"""The Celery app that Flower looks at: `celery -A workers.flower_app flower`."""

from shared.config import settings
from shared.queue import make_celery
from shared.telemetry import log_setup

log_setup.configure(settings().log_level, settings().log_format)  # Flower sets up a log of its own where there is none yet

app = make_celery(settings())
