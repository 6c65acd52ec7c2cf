"""What Celery needs of us."""
