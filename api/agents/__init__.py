"""Agents: programs that connect to us over a WebSocket and answer questions. Their sockets live here, in the API's processes."""
