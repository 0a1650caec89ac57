"""Serving of policies: a service that answers the ticks of sites, and the clients that ask it."""
