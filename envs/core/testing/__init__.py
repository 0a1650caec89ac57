"""Contract checks for systems, scenarios and vectors of plants, including users' own."""
