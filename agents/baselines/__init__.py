"""Controllers that practitioners use, by system."""
