"""The service's addresses, by what they are for."""
