"""A job's log in Redis: its stream, its first event, and which life of Redis it was written in."""
