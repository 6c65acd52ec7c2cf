"""Agents as a provider: programs that connect to us and answer."""
