"""`/v1/webhook_endpoints` and their deliveries."""
