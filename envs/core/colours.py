"""Colours of pictures, so that a controller has the same one in every picture of an evaluation."""

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442", "#000000")
"""Okabe and Ito's palette: told apart by colour-blind readers too. The first controller has the first, and so on."""
