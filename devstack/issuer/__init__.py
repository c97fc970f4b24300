"""A development issuer: real RS256 tokens and a real key set, for clients whose secrets everybody knows."""
