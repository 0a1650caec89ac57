"""The palette of all pictures, so that a controller has the same colour in every picture of an evaluation."""

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442", "#000000")
"""Okabe and Ito's palette, which colour-blind readers can distinguish. Controllers take the colours in order."""
