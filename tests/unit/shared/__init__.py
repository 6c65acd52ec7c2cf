"""Tests of shared/, without processes."""
