"""Providers: one protocol with one method, and what implements it."""
