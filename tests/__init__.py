"""The proof, in rings."""
