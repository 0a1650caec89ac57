"""How many requests every zone will have: a probabilistic forecast from history and what has come in today."""

from agents.monitors.demand.forecast import DemandForecast, Forecast, Levels

__all__ = ["DemandForecast", "Forecast", "Levels"]
