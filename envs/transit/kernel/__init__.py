"""The compiled core (numba): plans, the best insertion into all of them, and the fleet's movement over time.

The simulated service (`service`) and the live fleet (`live`) both run on it. Whatever asks for an insertion, these
functions never make a plan that breaks a promise.
"""
