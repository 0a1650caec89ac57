"""Bundles of policies: export and its inverse, calibration of envelopes, results on a card."""
