"""Access control: API keys, signed tokens, roles, request rates, and the middleware that all HTTP requests pass."""
