"""The tables, step by step, and how a database is brought from one step to the next."""
