"""Sources of towns and demand: a module reads each; `settings` are parts of a scenario."""
