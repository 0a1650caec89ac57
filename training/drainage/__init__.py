"""Drainage studies beside training: the best plan that a search finds if rain and tide are known."""
