"""Features of gates on tensors, batched: the columns of `drainage.features` that depend on levels and gates."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from envs.drainage.features import FLOW_CMS, LARGEST, STILL_S, DrainageFeatures
from envs.drainage.surrogate.reservoirs import Reservoirs


class TensorFeatures:
    """Columns of the part ``gate`` from the levels of a network's reservoirs.

    Args:
        features: of the site.
        parts: its reservoirs.
    """

    def __init__(self, features: DrainageFeatures, parts: Reservoirs):
        site = features.site
        self._dwell_s, self._tanks, self._of = site.timing.dwell_s, len(site.tanks), parts.tanks
        place = {tank: k for k, tank in enumerate(parts.tanks.tolist())}
        self._full = torch.tensor(parts.full_m, dtype=torch.float32)
        self._own = torch.tensor([place[gate.tank] for gate in site.gates])
        self._below = torch.tensor([place.get(gate.below, 0) for gate in site.gates])
        self._exists = torch.tensor([float(gate.below >= 0) for gate in site.gates])
        self._gated = torch.unique(self._own)
        self._others = self._gated[None, :] != self._own[:, None]
        self._leads = torch.tensor([[float(a.below == b.tank) for a in site.gates] for b in site.gates])
        self._static = torch.tensor([gate.static for gate in site.gates], dtype=torch.float32)

    def readings(self, depth_m: np.ndarray) -> np.ndarray:
        """Levels of all tanks of the site, ``(E, tanks)``, from those of reservoirs; NaN for others."""
        found = np.full((len(depth_m), self._tanks), np.nan)
        found[:, self._of] = depth_m
        return found

    def columns(
        self, depth_m: Tensor, known: Tensor, settings: Tensor, still_s: np.ndarray, flow_cms: Tensor, weather: Tensor
    ) -> Tensor:
        """Columns `GATE_FEATURES`, ``(E, N, 24)``.

        Args:
            depth_m: measured depths, ``(E, K)``.
            known: sensors that are not silent, bool ``(E, K)``.
            settings: of the gates, ``(E, N)``.
            still_s: seconds since they moved, ``(E, N)``.
            flow_cms: measured flows through them, ``(E, N)``.
            weather: of `DrainageFeatures.weather`, ``(E, N, 7)``.
        """
        seen = known.float()
        filled = seen * depth_m / self._full
        own, own_known = filled[:, self._own], seen[:, self._own]
        exists = self._exists.expand_as(own)
        fillings, heard = filled[:, self._gated], known[:, self._gated]
        mean = fillings.sum(dim=1) / seen[:, self._gated].sum(dim=1).clamp(min=1.0)
        rivals = torch.where(heard[:, None, :] & self._others, fillings[:, None, :], -1.0).amax(dim=-1)
        flat = torch.zeros_like(own)
        still = torch.from_numpy(still_s).to(own.dtype)
        columns = [
            own_known,
            own,
            seen[:, self._below] * exists,
            filled[:, self._below] * exists,
            (own - mean[:, None]) * own_known,
            torch.where(rivals < 0, flat, own - rivals) * own_known,
            mean[:, None] + flat,
            (self._leads * own[:, None, :]).amax(dim=-1),
            (self._leads * settings[:, None, :]).amax(dim=-1),
            settings,
            self._static + flat,
            (still >= self._dwell_s).float(),
            (still / STILL_S).clamp(max=2.0),
            flow_cms / FLOW_CMS,
            *weather.unbind(dim=-1),
            flat,  # no tide, nor pump: surrogates have none
            flat,
            exists,
        ]
        return torch.stack(columns, dim=-1).clamp(-LARGEST, LARGEST)
