"""Bodies, errors, limits, CORS, SSE framing, request ids. Knows nothing of jobs."""
