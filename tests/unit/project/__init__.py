"""Tests of the project itself: architecture, documents, deployment files."""
