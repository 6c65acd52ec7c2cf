"""Measurements: cost per token, memory per stream, delays. Each prints its figures; none is a test."""
