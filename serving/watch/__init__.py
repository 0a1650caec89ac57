"""Who takes note of what happens: metrics, streams, the log."""
