"""From a SUMO network to a site: its signals, and what they conflict with, show and count."""
