"""Tuning of the rules' parameters on training seeds, a module per system; behind ``cityloop tune``."""
