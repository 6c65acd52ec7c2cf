"""Redis: how we connect to it, and every key and channel in it."""
