"""Chat messages: their tree, their text, the answer that deltas add up to, and estimates of usage."""
