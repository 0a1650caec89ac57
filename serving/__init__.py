"""How policies go to work: a service that answers ticks, and a plant that asks it."""
