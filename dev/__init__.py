"""What only a developer's machine needs: the stack of `bin/dev`, the built-in model, and what tests and benchmarks share."""
