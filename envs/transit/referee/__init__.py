"""SUMO beside our own simulator: travel times measured in traffic, and the same service driven by SUMO's vehicles.

All modules of transit that run SUMO are here; they run it in processes of its own.
"""
