"""What requests and answers look like: what validates them also documents them."""
