"""SWMM: its input file, and its simulation."""
