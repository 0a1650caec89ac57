"""A decision of many buildings and its gradient, compiled: the steps of `structure` and `device` in one call.

A twin's buildings take the same few hundred small steps at every update; as calls on tensors these take five times as
long as their arithmetic. Only the most common plant is here, an elastic frame with dampers of the simple model
(`fits`): forward, and backward by hand. The tensor code of `structure` is the definition; a test compares the two. For
any other plant gradients pass through the tensor code.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from envs.dampers.jit import compiled, within
from envs.dampers.mechanics.building import Building


class StepConstants(NamedTuple):
    """Constants of a time step.

    Attributes:
        storeys: with dampers, from 0, ``(d,)``.
        counts: of devices, ``(d,)``.
        device: decay of the coil's lag in a step, step in s, c0a, c0b, alpha_a, alpha_b, A, γ, β, bound of z, bound of
            the force.
        norm: exponent of the shares that are summed.
    """

    storeys: np.ndarray
    counts: np.ndarray
    device: np.ndarray
    norm: int


def fits(building: Building) -> bool:
    """Whether the compiled step covers a building: elastic frame, dampers of the simple model without end stops."""
    device = building.device
    simple = device.model == "simple" and device.z.n == 2 and 0 <= device.z.beta <= device.z.gamma
    return simple and not device.stop_n_m and building.hysteresis is None


def step_constants(building: Building, dt_s: float, norm: float) -> StepConstants:
    """Constants of a building that `fits`."""
    device, z = building.device, building.device.z
    keep = math.exp(-device.eta_1_s * dt_s)
    viscous, yielding = (device.c0a_n_s_m, device.c0b_n_s_mv), (device.alpha_a_n_m, device.alpha_b_n_mv)
    numbers = [keep, dt_s, *viscous, *yielding, z.a, z.gamma, z.beta, z.largest, device.rated_n]
    return StepConstants(
        building.storeys, building.counts.astype(np.float32), np.array(numbers, np.float32), round(norm)
    )


class Decision(torch.autograd.Function):
    """All substeps of a decision: state, coils, hysteresis, voltages → their next values, forces, powers of shares.

    Shapes: x ``(G, 2n, E)``, u, z, voltages before and after ``(G, d, E)``, rest ``(G, E)`` (substeps of the former),
    loads ``(G, substeps, E)``, matrix ``(G, rows, columns)`` as `Structure` makes it, unit ``(G, 2, E)``; powers
    ``(G, 2, E)``: Σ over substeps and places of (|y| / unit)^norm, of drifts and of accelerations.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, u: Tensor, z: Tensor, before: Tensor, after: Tensor, *fixed: Any) -> Any:
        """See the class; ``fixed``: rest, loads, matrix, unit, and the step's constants."""
        *tensors, constants = fixed
        given = tuple(part.detach().contiguous().numpy() for part in (x, u, z, before, after, *tensors))
        ends = tuple(np.empty_like(given[k]) for k in (0, 1, 2, 1))
        powers = np.zeros_like(given[8])
        _forward(*given, *constants, *ends, powers)
        ctx.given, ctx.constants = given, constants
        return tuple(map(torch.from_numpy, (*ends, powers)))

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        """Gradients of the inputs from those of the outputs."""
        found = tuple(np.zeros_like(ctx.given[k]) for k in range(5))
        _backward(*ctx.given, *ctx.constants, *(slope.contiguous().numpy() for slope in slopes), *found)
        return *map(torch.from_numpy, found), None, None, None, None, None


@within
def _power(share, norm):  # type: ignore[no-untyped-def]
    """share^norm of a whole norm, by squaring."""
    result = np.float32(1.0)
    while norm > 0:
        if norm & 1:
            result = result * share
        share = share * share
        norm >>= 1
    return result


@within
def _devices(x, u, z, volts, storeys, counts, device, rates, raws, forces):  # type: ignore[no-untyped-def]
    """Dampers of a group in a step, in place: u, z, rates, z before it was bounded, and forces of each storey."""
    n = len(x) // 2
    keep, dt, c0a, c0b, aa, ab, big_a, gamma, beta, bound, rated = device
    for k in range(len(storeys)):
        s = n + storeys[k]
        for e in range(x.shape[1]):
            r = x[s, e] - (x[s - 1, e] if storeys[k] > 0 else np.float32(0.0))
            now = volts[k, e] + (u[k, e] - volts[k, e]) * keep
            work = r * z[k, e]
            raw = (z[k, e] + dt * big_a * r) / (np.float32(1.0) + dt * (gamma * abs(work) + beta * work))
            settled = min(max(raw, -bound), bound)
            pull = (c0a + c0b * now) * r + (aa + ab * now) * settled
            rates[k, e], u[k, e], raws[k, e], z[k, e] = r, now, raw, settled
            forces[k, e] = min(max(pull, -rated), rated) * counts[k]


@within
def _product(matrix, rows, x, force, load, out):  # type: ignore[no-untyped-def]
    """Rows of the matrix times state, forces and load of a group, in place."""
    m, d = len(x), len(force)
    for i in range(len(out)):
        row = matrix[rows + i]
        for e in range(x.shape[1]):
            out[i, e] = row[m + d] * load[e]
        for j in range(m):
            for e in range(x.shape[1]):
                out[i, e] += row[j] * x[j, e]
        for j in range(d):
            for e in range(x.shape[1]):
                out[i, e] += row[m + j] * force[j, e]


@compiled
def _forward(  # type: ignore[no-untyped-def]
    x, u, z, before, after, rest, loads, matrix, unit, storeys, counts, device, norm, x_end, u_end, z_end, f_end, powers
):
    """Forward, group by group; see `Decision`."""
    groups, m, each = x.shape
    n, d, steps = m // 2, len(storeys), loads.shape[1]
    seen_from = matrix.shape[1] - 2 * n - 1
    rates, raws = np.empty((d, each), np.float32), np.empty((d, each), np.float32)  # each by itself: whole in memory
    volts, seen = np.empty((d, each), np.float32), np.empty((m, each), np.float32)
    for g in range(groups):
        here, ahead = x[g].copy(), np.empty((m, each), np.float32)
        coil, bent, force = u_end[g], z_end[g], f_end[g]
        coil[:], bent[:] = u[g], z[g]
        for step in range(steps):
            _choose(before[g], after[g], rest[g], step, volts)
            _devices(here, coil, bent, volts, storeys, counts, device, rates, raws, force)
            _product(matrix[g], seen_from, here, force, loads[g, step], seen)
            for i in range(m):
                for e in range(each):
                    powers[g, i // n, e] += _power(abs(seen[i, e]) / unit[g, i // n, e], norm)
            _product(matrix[g], 0, here, force, loads[g, step], ahead)
            here, ahead = ahead, here
        x_end[g] = here


@within
def _choose(before, after, rest, step, volts):  # type: ignore[no-untyped-def]
    for k in range(len(volts)):
        for e in range(volts.shape[1]):
            volts[k, e] = before[k, e] if step < rest[e] else after[k, e]


@compiled
def _backward(  # type: ignore[no-untyped-def]
    x, u, z, before, after, rest, loads, matrix, unit, storeys, counts, device, norm,
    of_x, of_u, of_z, of_force, of_powers, dx, du, dz, dbefore, dafter,
):  # fmt: skip
    """Backward, group by group: forward again with every step stored, then from the last step to the first."""
    groups, m, each = x.shape
    n, d, steps = m // 2, len(storeys), loads.shape[1]
    seen_from = matrix.shape[1] - 2 * n - 1
    xs, then, seen = np.empty((steps + 1, m, each), np.float32), np.empty((m, each), np.float32), np.empty_like(x[0])
    zs, us = np.empty((steps + 1, d, each), np.float32), np.empty((steps + 1, d, each), np.float32)
    rates, raws = np.empty((steps, d, each), np.float32), np.empty((steps, d, each), np.float32)
    forces, volts = np.empty((steps, d, each), np.float32), np.empty((d, each), np.float32)
    of_volts, pull = np.empty((d, each), np.float32), np.empty((d, each), np.float32)
    for g in range(groups):
        xs[0], us[0], zs[0] = x[g], u[g], z[g]
        for t in range(steps):
            _choose(before[g], after[g], rest[g], t, volts)
            us[t + 1], zs[t + 1] = us[t], zs[t]
            _devices(xs[t], us[t + 1], zs[t + 1], volts, storeys, counts, device, rates[t], raws[t], forces[t])
            _product(matrix[g], 0, xs[t], forces[t], loads[g, t], xs[t + 1])
        now = of_x[g].copy()
        du[g], dz[g], pull[:] = of_u[g], of_z[g], of_force[g]
        for t in range(steps - 1, -1, -1):
            _product(matrix[g], seen_from, xs[t], forces[t], loads[g, t], seen)
            _powers_back(seen, unit[g], norm, of_powers[g])
            then[:] = np.float32(0.0)
            _product_back(matrix[g], 0, now, then, pull)
            _product_back(matrix[g], seen_from, seen, then, pull)
            _devices_back(
                then,
                du[g],
                dz[g],
                of_volts,
                pull,
                us[t + 1],
                zs[t],
                zs[t + 1],
                storeys,
                counts,
                device,
                rates[t],
                raws[t],
            )
            for k in range(d):
                for e in range(each):
                    if t < rest[g, e]:
                        dbefore[g, k, e] += of_volts[k, e]
                    else:
                        dafter[g, k, e] += of_volts[k, e]
            now, then = then, now
        dx[g] = now


@within
def _powers_back(seen, unit, norm, of_powers):  # type: ignore[no-untyped-def]
    """Gradients of the response, in its place, from those of its powers."""
    n = len(seen) // 2
    for i in range(2 * n):
        for e in range(seen.shape[1]):
            share = seen[i, e] / unit[i // n, e]
            slope = norm * _power(abs(share), norm - 1) / unit[i // n, e] * of_powers[i // n, e]
            seen[i, e] = slope if share > 0 else -slope


@within
def _product_back(matrix, rows, of_out, of_x, of_force):  # type: ignore[no-untyped-def]
    """Add a product's gradients to those of state and forces."""
    m, d = len(of_x), len(of_force)
    for i in range(len(of_out)):
        row = matrix[rows + i]
        for j in range(m):
            for e in range(of_x.shape[1]):
                of_x[j, e] += row[j] * of_out[i, e]
        for j in range(d):
            for e in range(of_x.shape[1]):
                of_force[j, e] += row[m + j] * of_out[i, e]


@within
def _devices_back(  # type: ignore[no-untyped-def]
    of_x, of_u, of_z, of_volts, of_force, u_end, z, z_end, storeys, counts, device, rates, raws
):
    """Gradients of the dampers' initial states from those of the final, in place; those of forces are reset."""
    keep, dt, c0a, c0b, aa, ab, big_a, gamma, beta, bound, rated = device
    one, zero, n = np.float32(1.0), np.float32(0.0), len(of_x) // 2
    for k in range(len(storeys)):
        s = n + storeys[k]
        for e in range(of_x.shape[1]):
            r, u, old, raw, settled = rates[k, e], u_end[k, e], z[k, e], raws[k, e], z_end[k, e]
            c0, alpha = c0a + c0b * u, aa + ab * u
            f = of_force[k, e] * counts[k] if abs(c0 * r + alpha * settled) <= rated else zero
            of_coil = of_u[k, e] + f * (c0b * r + ab * settled)
            of_raw = of_z[k, e] + f * alpha if abs(raw) <= bound else zero
            work = r * old
            of_sum = of_raw / (one + dt * (gamma * abs(work) + beta * work))
            sign = one if work > 0 else -one if work < 0 else zero
            of_work = -dt * of_sum * raw * (gamma * sign + beta)
            of_rate = f * c0 + of_sum * dt * big_a + of_work * old
            of_z[k, e] = of_sum + of_work * r
            of_u[k, e], of_volts[k, e] = of_coil * keep, of_coil * (one - keep)
            of_x[s, e] += of_rate
            if storeys[k] > 0:
                of_x[s - 1, e] -= of_rate
            of_force[k, e] = zero
