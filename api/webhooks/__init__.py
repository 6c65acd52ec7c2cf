"""Webhook endpoints and their deliveries, for the users that own them."""
