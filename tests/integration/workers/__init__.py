"""Tests of workers/, against real servers."""
