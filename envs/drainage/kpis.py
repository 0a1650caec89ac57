"""What an episode was worth."""

from __future__ import annotations

CONTINUITY_PCT = 1.0
"""A run whose water is not accounted for by more than this is invalid."""

KPIS = {
    "controllable_m3": "overflow at the nodes that gates can influence",
    "overflow_m3": "water that left the network at all nodes, and at the outfalls that count as overflow",
    "sensitive_m3": "what of it went into sensitive waters",
    "flooded_nodes": "nodes at which water left the network; no outfalls",
    "flooded_h": "hours for which it did, summed over nodes",
    "peak_outflow_cms": "largest flow through all outfalls together, at decisions",
    "treated_m3": "volume that reached the outfalls that lead to treatment",
    "stored_m3": "what the tanks hold at the end",
    "movement": "sum over gates of all changes of their setting, 1 from shut to open",
    "moves": "number of movements",
    "rain_mm": "rain, mean over gauges",
    "objective": "the scenario's published objective; 0 where it has none",
    "continuity_pct": "water that SWMM lost or made in routing, % of what came in",
    "runoff_continuity_pct": "the same for the catchments' runoff, which gates do not touch",
    "invalid": "1 if routing lost or made more than 1 %: the run's volumes mean nothing",
}
"""Indicator → definition."""
