"""Chat messages: what a log's deltas add up to."""
