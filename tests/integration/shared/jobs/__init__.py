"""The life of a job in the database: claimed, renewed, ended."""
