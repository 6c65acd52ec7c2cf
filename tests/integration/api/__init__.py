"""Tests of api/, against real servers."""
