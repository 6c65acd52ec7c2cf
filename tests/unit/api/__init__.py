"""Tests of api/, without processes."""
