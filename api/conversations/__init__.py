"""Conversations and their messages, as their user sees them."""
