"""Providers that speak almost OpenAI's wire, through the whole of Chatrelay."""
