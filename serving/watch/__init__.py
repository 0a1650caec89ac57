"""Observation of the service: metrics, event streams, the log."""
