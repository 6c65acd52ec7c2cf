"""The dialects with the real clients of their projects, on several processes at once."""
