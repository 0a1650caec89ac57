"""Transit studies beside training: fixed lines with the same vehicles, and the dispatch carried out in SUMO."""
