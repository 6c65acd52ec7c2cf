"""What only a developer's machine needs: the embedded stack and the built-in model."""
