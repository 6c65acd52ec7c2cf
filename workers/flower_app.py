"""The Celery app that Flower looks at: `celery -A workers.flower_app flower`."""

from shared.config import settings
from shared.queue import make_celery

app = make_celery(settings())
