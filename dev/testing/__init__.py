"""What tests and benchmarks share: the product's real processes, and a client."""
