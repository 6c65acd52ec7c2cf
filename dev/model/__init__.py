"""The built-in model: a small OpenAI-compatible HTTP server, and a test instrument."""
