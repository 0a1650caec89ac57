"""The record of an episode: its events, and what is computed from them alone, rider by rider and period by period."""
