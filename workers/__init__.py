"""Asks models; never imports flask."""
