"""Tests of shared/, against real servers."""
