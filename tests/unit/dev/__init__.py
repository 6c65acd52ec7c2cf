"""Tests of dev/, without processes."""
