"""The surrogate of a network, for back-propagation: a few reservoirs, fitted to SWMM, and their control."""
