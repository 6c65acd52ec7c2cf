"""What operators do, on real servers."""
