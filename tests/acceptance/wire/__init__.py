"""What the world sends: providers that speak almost OpenAI's wire, and clients that send more than we know."""
