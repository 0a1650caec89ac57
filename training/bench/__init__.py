"""Benchmarks as commands: ratios measured in one run against a peer or a bare floor."""
