"""How the rules' numbers are found, on training seeds alone: a command a system, ``python -m training.tuning.NAME``."""
