"""Tests of workers/, without processes."""
