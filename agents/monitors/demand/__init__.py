"""Probabilistic forecast of requests in every zone, from history and today's requests so far."""

from agents.monitors.demand.forecast import DemandForecast, Forecast, Levels

__all__ = ["DemandForecast", "Forecast", "Levels"]
