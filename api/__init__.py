"""Speaks HTTP and SSE to clients; never calls a model."""
