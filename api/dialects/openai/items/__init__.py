"""Items of responses and conversations: their shapes, the chat messages that they are, what refers to them."""
