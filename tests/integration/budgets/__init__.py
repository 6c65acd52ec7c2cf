"""Budgets of work, held by counting and not by time."""
