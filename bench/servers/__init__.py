"""Servers that benchmarks put around what they measure."""
