"""Everything at once: real processes, real signals."""
