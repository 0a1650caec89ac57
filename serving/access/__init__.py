"""Who is let in and what they may do: keys, tokens, roles, rates, and the door that all HTTP passes."""
