"""Jobs: submitted, watched, listed, cancelled; and what keeps one from its answer."""
