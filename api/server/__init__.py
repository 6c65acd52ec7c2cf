"""Between gunicorn and the app: bounds of how a request comes in, and headers of every response."""
