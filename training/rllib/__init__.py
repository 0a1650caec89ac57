"""The array-based pipeline inside RLlib: plants as arrays, whole fragments, a critic once per environment step."""
