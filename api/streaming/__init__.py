"""One pub/sub connection, many readers: watch a job from a cursor."""
