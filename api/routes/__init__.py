"""Our own API, one module a resource; each blueprint has its guard beside it."""
