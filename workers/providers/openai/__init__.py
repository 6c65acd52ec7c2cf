"""OpenAI's chat completions, of OpenAI and of all who speak almost as it does."""
