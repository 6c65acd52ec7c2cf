"""A job's life in the database: its transitions, its end, and who is told of it."""
