"""Differentiable surrogate: a network's reservoirs (`reservoirs.py`) as tensors, many episodes at once.

A tank's depth follows from its volume; flow through orifices follows SWMM's formula of depth and setting and reaches
the next tank some minutes later; the excess over a full tank's volume overflows. Orifices have free outflow, whatever
the level below.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from envs.drainage.surrogate.reservoirs import BANDS, Calibration

SUBSTEP_S = 300.0
"""Largest time step of the water balance: tanks drain in hours."""

GRAVITY = 9.80665
TINY = 1e-6
"""Metres that keep the gradient of a square root finite."""


class Basin:
    """The reservoirs of one network, for ``E`` episodes at once.

    Args:
        fit: the network's.
        decision_s: seconds between two decisions.

    Attributes:
        parts: its reservoirs.
        dt_s: seconds of a step of the balance.
        volume_m3: their volumes, ``(E, K)``.
        under_way: flow through each outlet in the last step and in those whose water is still on its way, the last
            first, ``(E, O)`` each.
    """

    volume_m3: Tensor
    under_way: list[Tensor]

    def __init__(self, fit: Calibration, decision_s: float):
        parts = self.parts = fit.parts
        self.substeps = math.ceil(decision_s / SUBSTEP_S)
        self.dt_s = decision_s / self.substeps
        self._area = torch.tensor(fit.area_m2, dtype=torch.float32)
        self._band = self._area * torch.tensor(parts.full_m / BANDS, dtype=torch.float32)[:, None]
        self._under = self._band.cumsum(dim=1) - self._band
        self.capacity_m3 = self._band.sum(dim=1) + torch.tensor(fit.brim_m3, dtype=torch.float32)
        deep = np.clip(parts.initial_m[:, None] - np.linspace(0, parts.full_m, BANDS, endpoint=False).T, 0.0, None)
        held = (np.minimum(deep, parts.full_m[:, None] / BANDS) * fit.area_m2).sum(axis=1)
        self._initial_m3 = torch.tensor(held, dtype=torch.float32)
        outlets = parts.outlets
        self._source = torch.tensor([outlet.source for outlet in outlets])
        self._height = torch.tensor([outlet.height_m for outlet in outlets])
        self._sill = torch.tensor([outlet.sill_m for outlet in outlets])
        width = torch.tensor([outlet.discharge * outlet.width_m for outlet in outlets])
        self._strength = width * math.sqrt(2 * GRAVITY)
        self._gates = sum(outlet.gate >= 0 for outlet in outlets)
        kinds = (len(parts.names), len(outlets))
        self._out = torch.zeros(kinds)
        self._out[self._source, torch.arange(len(outlets))] = 1.0
        lags = [max(1, round(fit.lag_s[outlet.to] / self.dt_s)) if outlet.to >= 0 else 0 for outlet in outlets]
        self._into: dict[int, Tensor] = {}
        for lag in sorted(set(lags) - {0}):
            self._into[lag] = torch.zeros(kinds)
            for o, outlet in enumerate(outlets):
                if lags[o] == lag:
                    self._into[lag][outlet.to, o] = 1.0
        self._memory = max([1, *lags])
        self.under_way = []

    def begin(self, episodes: int) -> None:
        """Set all tanks to their initial volumes."""
        self.volume_m3 = self._initial_m3.repeat(episodes, 1)
        self.under_way = [torch.zeros(episodes, len(self.parts.outlets)) for _ in range(self._memory)]

    def depth_m(self) -> Tensor:
        """Depths ``(E, K)``."""
        over = self.volume_m3[..., None] - self._under
        return (over.clamp(min=0.0).minimum(self._band) / self._area).sum(dim=-1)

    def flow_cms(self, depth_m: Tensor, settings: Tensor) -> Tensor:
        """Flow through outlets, ``(E, O)``, by SWMM's formula of a side orifice: a weir while it runs part full.

        Args:
            depth_m: ``(E, K)``.
            settings: of the gates, ``(E, N)``.
        """
        open_ = torch.ones(len(settings), len(self._height))
        open_[:, : self._gates] = settings
        opening = (open_ * self._height).clamp(min=TINY)
        head = depth_m[:, self._source] - self._sill
        full = self._strength * opening * ((head - opening / 2).clamp(min=TINY)).sqrt()
        part = self._strength * opening * (opening / 2).sqrt() * ((head / opening).clamp(TINY, 1.0)).pow(1.5)
        flow = torch.where(head >= opening, full, part)
        return torch.where((open_ > 0) & (head > 0), flow, torch.zeros_like(flow))

    def advance(self, settings: Tensor, inflow_cms: Tensor) -> Tensor:
        """Advance by one decision; the overflow, ``(E, K)`` in m³.

        Args:
            settings: of the gates, ``(E, N)``.
            inflow_cms: other inflow of each reservoir, ``(E, K)``.
        """
        spilled = torch.zeros_like(self.volume_m3)
        for _ in range(self.substeps):
            flow = self.flow_cms(self.depth_m(), settings)
            come = inflow_cms
            for lag, into in self._into.items():
                come = come + self.under_way[lag - 1] @ into.T
            gone = flow @ self._out.T
            there = self.volume_m3 / self.dt_s + come
            share = (there / gone.clamp(min=1e-9)).clamp(max=1.0)
            flow = flow * share[:, self._source]
            held = self.volume_m3 + self.dt_s * (come - gone * share)
            more = (held - self.capacity_m3).clamp(min=0.0)
            spilled = spilled + more
            self.volume_m3 = held - more
            self.under_way = [flow, *self.under_way][: self._memory]
        return spilled


def play(basin: Basin, settings: np.ndarray, inflow_cms: np.ndarray) -> np.ndarray:
    """Overflow of each reservoir, ``(E, K)`` in m³, over whole episodes with given settings.

    Args:
        basin: the network.
        settings: ``(E, T, N)``.
        inflow_cms: ``(E, T, K)``.
    """
    given, inflow = (torch.from_numpy(np.ascontiguousarray(x, np.float32)) for x in (settings, inflow_cms))
    basin.begin(len(given))
    total = torch.zeros_like(basin.volume_m3)
    with torch.no_grad():
        for k in range(given.shape[1]):
            total += basin.advance(given[:, k], inflow[:, k])
    return total.numpy()
