"""What gunicorn lacks: bounds of how a request comes in."""
