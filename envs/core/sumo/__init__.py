"""SUMO as several systems use it: its programs, its files, the RESCO maps."""
