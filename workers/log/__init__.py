"""The logs that this process writes: in memory, and on their way to Redis."""
