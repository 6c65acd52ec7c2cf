"""Real servers for development and tests: Redis and PostgreSQL."""
