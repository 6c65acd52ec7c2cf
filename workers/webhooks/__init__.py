"""Send webhook deliveries: claim, post, write down; try again for days."""
