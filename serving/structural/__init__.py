"""Structural monitors, which estimate the state of a building from its ticks; their reports are events."""
