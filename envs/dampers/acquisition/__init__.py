"""The acquisition unit: the state of a building, and which of its sensors can be believed."""
