"""Agents: programs that connect to us over a WebSocket and answer as providers do. Their sockets live in the API's processes."""
