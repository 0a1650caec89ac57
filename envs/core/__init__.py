"""The contract that every system fulfils, and everything that needs no system to be known."""
