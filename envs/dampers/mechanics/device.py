"""Magnetorheological dampers: force from motion and voltage, and the Bouc-Wen hysteresis that storeys share with them.

Pure functions of arrays of any shape, for numpy and torch alike (``xp`` is the module), so that gradients pass through
the simulated model itself. A device resists motion: its force is positive while it is being stretched.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field, model_validator

from envs.core.frozen import Frozen

Array = Any
"""A numpy array or a torch tensor."""


class Hysteresis(Frozen):
    """Bouc-Wen: z' = A r − γ |r| z |z|ⁿ⁻¹ − β r |z|ⁿ for a rate r (Wen 1976), n 1 or 2.

    Attributes:
        a: stiffness at z = 0, in units of z/m.
        gamma, beta: shape, in units of 1/(m·zⁿ⁻¹).
        n: sharpness.
    """

    a: float = Field(gt=0)
    gamma: float = Field(ge=0)
    beta: float
    n: Literal[1, 2] = 2

    @model_validator(mode="after")
    def _bounded(self) -> Hysteresis:
        if self.gamma + self.beta <= 0 or self.beta < -self.gamma:
            raise ValueError(f"beta is {self.beta:g}: it must be above -gamma, {-self.gamma:g}, or z has no bound")
        return self

    @property
    def largest(self) -> float:
        """The value at which |z| saturates, (A / (γ + β))^(1/n)."""
        return float((self.a / (self.gamma + self.beta)) ** (1 / self.n))


class Device(Frozen):
    """One magnetorheological damper and its driver; SI units.

    ``simple``: f = c0 x' + α z. ``modified`` (Spencer et al. 1997): f = c1 y' + k1 x with
    y' = (α z + c0 x' + k0 (x − y)) / (c0 + c1), z driven by x' − y'; the offset force of an accumulator is left out.
    α = alpha_a + alpha_b u, c0 and c1 likewise, and the coil follows the voltage v: u' = −η (u − v).

    Attributes:
        model: simple or modified.
        c0a_n_s_m, c0b_n_s_mv: viscous coefficient at 0 V, and its increase per volt.
        alpha_a_n_m, alpha_b_n_mv: coefficient of the hysteretic force, likewise.
        z: hysteresis.
        k0_n_m, k1_n_m, c1a_n_s_m, c1b_n_s_mv: of the modified model.
        eta_1_s: rate of the coil's first-order lag.
        full_v: largest voltage.
        rated_n: largest force that it bears; the model's force is clipped to it.
        stroke_mm: displacement either way at which it meets its end stop.
        stop_n_m: stiffness of the end stop.
    """

    model: Literal["simple", "modified"] = "simple"
    c0a_n_s_m: float = Field(ge=0)
    c0b_n_s_mv: float = Field(ge=0)
    alpha_a_n_m: float = Field(ge=0)
    alpha_b_n_mv: float = Field(gt=0)
    z: Hysteresis
    k0_n_m: float = Field(default=0.0, ge=0)
    k1_n_m: float = Field(default=0.0, ge=0)
    c1a_n_s_m: float = Field(default=0.0, ge=0)
    c1b_n_s_mv: float = Field(default=0.0, ge=0)
    eta_1_s: float = Field(gt=0)
    full_v: float = Field(gt=0)
    rated_n: float = Field(gt=0)
    stroke_mm: float = Field(gt=0)
    stop_n_m: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _whole(self) -> Device:
        if self.model == "modified" and self.c1a_n_s_m + self.c1b_n_s_mv == 0:
            raise ValueError("c1a_n_s_m is 0: the modified model needs it")
        if self.model == "modified" and self.c0a_n_s_m + self.c1a_n_s_m == 0:
            raise ValueError("c0a_n_s_m and c1a_n_s_m are 0: the modified model divides by their sum at 0 V, give one")
        return self

    def steady_force_n(self, rate_m_s: Array, share: Array) -> Array:
        """Approximate steady-state force of the simple model at a constant rate and share of full voltage, in N."""
        volts = share * self.full_v
        viscous = self.c0a_n_s_m + self.c0b_n_s_mv * volts
        return viscous * abs(rate_m_s) + (self.alpha_a_n_m + self.alpha_b_n_mv * volts) * self.z.largest


class DamperState(NamedTuple):
    """Internal state of dampers: coil voltage u in V, hysteretic variable z, inner displacement y in m; same shapes."""

    u: Array
    z: Array
    y: Array


def bouc_wen_step(shape: Hysteresis, z: Array, rate: Array, dt_s: float, xp: Any = np) -> Array:
    """Hysteretic variable z after a step, linearly implicit: stable at any rate, first order in the step.

    Where the loss term increases z (β > γ, just after a reversal) it is explicit. Z is clipped to its bound.
    """
    if shape.n == 2:
        loss = rate * z
        loss = shape.gamma * abs(loss) + shape.beta * loss
    else:
        loss = shape.gamma * abs(rate) + shape.beta * rate * xp.sign(z)
    moved = z + (dt_s * shape.a) * rate
    if shape.beta <= shape.gamma:
        moved = moved / (1.0 + dt_s * loss)
    else:
        moved = (moved - dt_s * loss.clip(None, 0.0) * z) / (1.0 + dt_s * loss.clip(0.0, None))
    return moved.clip(-shape.largest, shape.largest)


def damper_step(
    device: Device, state: DamperState, volts: Array, stroke_m: Array, rate_m_s: Array, dt_s: float, xp: Any = np
) -> tuple[DamperState, Array]:
    """One time step of a damper: its next state, and its force in N, which resists the motion.

    Args:
        device: model of the damper.
        state: at the beginning of the step.
        volts: command voltage.
        stroke_m: displacement, positive in tension.
        rate_m_s: its rate.
        dt_s: time step.
        xp: numpy or torch.
    """
    u = volts + (state.u - volts) * math.exp(-device.eta_1_s * dt_s)  # exact for a voltage that stays
    alpha = device.alpha_a_n_m + device.alpha_b_n_mv * u
    c0 = device.c0a_n_s_m + device.c0b_n_s_mv * u
    if device.model == "simple":
        z, y = bouc_wen_step(device.z, state.z, rate_m_s, dt_s, xp), state.y
        force = c0 * rate_m_s + alpha * z
    else:
        c1 = device.c1a_n_s_m + device.c1b_n_s_mv * u
        known = c0 * rate_m_s + device.k0_n_m * (stroke_m - state.y)
        speed = (alpha * state.z + known) / (c0 + c1)
        z = bouc_wen_step(device.z, state.z, rate_m_s - speed, dt_s, xp)
        speed = (alpha * z + known) / (c0 + c1)
        y = state.y + dt_s * speed
        force = c1 * speed + device.k1_n_m * stroke_m
    force = force.clip(-device.rated_n, device.rated_n)
    if device.stop_n_m:
        # where it will be at the end of the step: held against where it was, a stop would give back more than it took
        limit, ahead_m = device.stroke_mm / 1e3, stroke_m + dt_s * rate_m_s
        force = force + device.stop_n_m * (ahead_m - ahead_m.clip(-limit, limit))
    return DamperState(u, z, y), force
