"""Parts against a real Redis and real databases."""
