"""SUMO beside our own simulator: what streets take with traffic on them, and the same service driven there.

Everything here runs SUMO, in processes of its own; nothing else of transit does.
"""
