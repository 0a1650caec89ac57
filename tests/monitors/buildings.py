"""The benchmark building as tests use it: short windows, a monitor that learned quickly, plain weather."""

from functools import lru_cache

import numpy as np

from agents.monitors.structural import MonitorConfig, StructuralMonitor
from agents.monitors.structural.ambient import CHANNELS, RATE_HZ, Weather, simulate_window
from agents.monitors.structural.iasc import HEALTHY, MASSES_KG, Damage
from agents.monitors.structural.learned import Learned

SECONDS = 20.0
CALM = Weather(per_c=((0.0, 0.0),) * 4, measured_c=0.0, load=0.0, level=0.0)
"""Nothing varies but the excitation."""

FIFTH_GONE = Damage(losses={(1, "y"): 0.2})

SETTINGS = {
    "name": "iasc",
    "rate_hz": RATE_HZ,
    "masses_kg": MASSES_KG,
    "channels": [channel.model_dump() for channel in CHANNELS],
    "false_alarms": 0.05,
}


def rng(*key):
    return np.random.default_rng([77, *key])


def window(*key, damage=HEALTHY, **more):
    return simulate_window(rng(*key), SECONDS, damage, **more)


@lru_cache
def learned_json():
    """What a monitor learned from 130 healthy windows, as JSON: tests that share it cannot disturb each other."""
    temperatures = rng(0).uniform(-5.0, 38.0, 130).tolist()
    windows = (window(0, k, temperature_c=t)[0] for k, t in enumerate(temperatures))
    return StructuralMonitor.learn(MonitorConfig.of(**SETTINGS), windows, temperatures).learned.model_dump_json()


def learned_monitor():
    return StructuralMonitor(Learned.model_validate_json(learned_json()))


def channel(name):
    return [each.id for each in CHANNELS].index(name)


def spoilt(a, b, name, fault):
    return window(a, b)[0], channel(name), fault, rng(a, b)
