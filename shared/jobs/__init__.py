"""A job's life in the database: the claim, the changes of its state, its end."""
