"""A simulated day of a booking service: riders and drivers over HTTP, and an account of every promise."""
