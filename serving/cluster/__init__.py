"""Ray Serve: processes, shards, the proxy in front, and files for `serve deploy`."""
