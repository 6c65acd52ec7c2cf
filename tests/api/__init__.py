"""The wire, against the real API."""
