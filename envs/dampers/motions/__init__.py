"""Motions of the ground, and gusts of wind."""
