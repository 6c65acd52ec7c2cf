"""One job's run, from its claim to its terminal state."""
