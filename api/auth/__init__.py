"""Who is calling: accounts, tokens, passwords."""
