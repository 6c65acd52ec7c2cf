"""What both sides must agree on about webhooks: the events, which addresses may be called, the secrets that sign."""
