"""The record of an episode: what is computed from its events alone, rider by rider and period by period."""
