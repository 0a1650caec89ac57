"""Buildings that are shaken by hand, for tests of the physics: no sensors, no control but a voltage."""

import numpy as np

from envs.dampers.mechanics.building import Building, read_building
from envs.dampers.mechanics.frame import Frame, chain, modal_damping
from envs.dampers.mechanics.structure import Structure
from tests.data import EL_CENTRO


def building(name="jansen", **changes):
    return Building.model_validate(read_building(name) | changes)


def shear_frame(mass_kg, stiffness_n_m, damping_ratio=0.02):
    """A shear frame: one stiffness a storey, and the same or each mode's own share of critical damping."""
    stiffness = chain(stiffness_n_m)
    return Frame(np.asarray(mass_kg, dtype=float), modal_damping(mass_kg, stiffness, damping_ratio), stiffness)


def energy_j(frame, state):
    """Kinetic and elastic energy, ``(…,)``, of states ``(…, 2n)``, relative to the ground."""
    x, v = state[..., : frame.floors], state[..., frame.floors :]
    elastic = np.einsum("...i,ij,...j->...", x, frame.stiffness, x)
    return 0.5 * (elastic + (frame.mass_kg * v**2).sum(axis=-1))


def elastic_j(device):
    """The most that hysteresis can hold and give back, α_max z_u² / 2A; springs and end stop not counted."""
    return (device.alpha_a_n_m + device.alpha_b_n_mv * device.full_v) * device.z.largest**2 / (2 * device.z.a)


def el_centro(dt_s, speed=1.0):
    """In m/s², at steps of ``dt_s``."""
    ground = 9.81 * np.loadtxt(EL_CENTRO, delimiter=",", skiprows=1)[:, 1]
    own = np.arange(len(ground)) * 0.02 / speed
    return np.interp(np.arange(0, own[-1], dt_s), own, ground)


def noise(seconds, dt_s, peak=0.3, seed=0):
    """A ground motion that is the same whatever the step: straight between samples of 20 ms."""
    coarse = np.random.default_rng(seed).normal(size=round(seconds / 0.02) + 2)
    ground = np.interp(np.arange(round(seconds / dt_s)) * dt_s, np.arange(len(coarse)) * 0.02, coarse)
    return peak * ground / abs(coarse).max()


def shake(plant, ground, volts):
    """Yield ``(state before, state after, drifts and accelerations before)`` at every step; one copy.

    ``volts``: a number, or a function of the step's index and the state.
    """
    state = plant.rest(1)
    for k, now in enumerate(ground):
        given = volts(k, state) if callable(volts) else volts
        after, seen = plant.step(state, np.full((plant.d, 1), 1.0) * given, np.array([[now]]), plant.matrix)
        yield state, after, seen[:, 0]
        state = after


def peaks(model, ground, dt_s, volts=0.0, dampers=True):
    """Largest displacements, drifts, accelerations of all floors, and force of a storey's dampers together."""
    plant = Structure(model, dt_s, dampers=dampers)
    n, history = plant.n, list(shake(plant, ground, volts))
    seen = abs(np.array([row for *_, row in history])).max(axis=0)
    x = abs(np.array([after.x[:n, 0] for _, after, _ in history])).max(axis=0)
    force = max((float(abs(after.force).max()) for _, after, _ in history), default=0.0) if plant.d else 0.0
    return x, seen[:n], seen[n : 2 * n], force
