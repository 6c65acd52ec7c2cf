"""What the API and the workers agree on about agents, in Redis."""
