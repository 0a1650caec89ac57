"""Tuning of the rules' parameters on training seeds, one command per system: ``python -m training.tuning.NAME``."""
