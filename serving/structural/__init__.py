"""Monitors that listen to a building's ticks: what they hear is told like everything else that happens."""
