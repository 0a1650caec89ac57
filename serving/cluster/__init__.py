"""Ray Serve: processes, shards, the proxy in front, and what a `serve deploy` needs."""
