"""Buildings with semi-active dampers: an agent is a damper, a decision is its voltage, the plant is our own arrays."""
