"""The controllers that practitioners use, one file a system."""
