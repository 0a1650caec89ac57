"""The registry of systems, and the loading of scenarios by reference.

To add a system, write its folder under `envs/` with a `SYSTEM` in it and its baselines under `agents/baselines/`, and
add one line to `SYSTEMS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from gymnasium import Space

from envs.core.conditions import Condition
from envs.core.consistency import Consistency
from envs.core.errors import CityloopError
from envs.core.gauges import Gauges
from envs.core.machine.files import path_in
from envs.core.readings import Readings, Schema
from envs.core.scenario import NAME, Scenario, read_yaml
from envs.core.scene import Scene
from envs.core.site import Site
from envs.core.world import Coordination, Features, Guard, Reward, World

if TYPE_CHECKING:
    from envs.core.differentiable import Differentiable
    from envs.core.vector import Vector

SYSTEMS = {
    "intersections": "envs.intersections",
    "drainage": "envs.drainage",
    "dampers": "envs.dampers",
    "transit": "envs.transit",
}

FILES = (".xml", ".gz", ".inp", ".csv", ".at2", ".txt", ".dat", ".json", ".zip")
"""Suffixes of file names: text in a scenario's YAML that ends with one is a path, except under a key of `WORDS`."""

WORDS = ("system", "name", "description")
"""Keys of a scenario whose values are text, whatever their suffix."""


@dataclass(frozen=True)
class System:
    """All parts that a system contributes to the loop.

    Attributes:
        name: name, as in references of scenarios.
        description: one line for people.
        kpi: headline indicator, lower is better, of scenarios that name no other (`headline`).
        failure: indicator that is 1 if an episode failed, e.g. ``gridlock``.
        negligible: lower bound of the headline indicator in ratios; smaller values count as this one.
        failure_in_kpi: whether the headline indicator of a failed episode counts the failure in full, as delay does.
        failure_voids: whether the other indicators of a failed episode are meaningless and never averaged.
        beside: indicators that tables always show beside the headline, which says little without them.
        trade: two indicators that trade off, plotted against each other if several settings of a scenario are
            evaluated.
        kpis: indicator, with its unit in its name → its meaning.
        readings: schema of the sensor readings.
        scenario_class, site_class: types of its scenarios and sites.
        scenario_names: names of the scenarios that ship.
        drawn: columns of the readings that are recorded at every decision of an evaluated episode, for plots.
        choices: those columns in `drawn` that hold categories, plotted as bars; quantities are plotted as lines.
        draw_map: ``(site, controller → place → value, indicator)`` → a matplotlib figure of an indicator by place, for
            worlds with `World.places`; values are means over seeds.
        draw_episodes: ``(site, controller → column → values over time, seconds per decision)`` → name → figure, of the
            recorded readings on one seed.
        variant_names: labels of variants of the shipped scenarios (`Scenario.label`), which load by that name too.
        load_scenario: short name → scenario.
        load_site: scenario → site, extracted from the plant's own files.
        action_space: site → action space of one agent.
        command: name of the quantity that a command sets in the serving API, e.g. ``stage``.
        cross_check: refuses readings of a site whose columns contradict each other or the site; raises `ReadingError`.
        consistency: site → invariants of its readings over time, for sensor checks.
        make_world, make_guard, make_features, make_reward: build the parts.
        make_scene: site → its scene.
        conditions: ``(site, readings)`` → alarm conditions.
        gauges: ``(site, readings)`` → a few numbers for a dashboard.
        everyday: the guard's routine reasons: limits of equipment and site that act every day, and do not count against
            a controller.
        make_coordination: site → coordination of a policy's agents, or None if their requests cannot conflict; for
            systems with discrete actions.
        make_vector: ``(scenario, num_envs, seed)`` → plants as arrays in this process; None: the system has none.
        make_differentiable: ``(scenario, num_envs, seed)`` → differentiable plants; None: the system has none.
        training: algorithm → settings of the trainer that differ from its defaults for this system.
    """

    name: str
    description: str
    kpi: str
    failure: str
    kpis: Mapping[str, str]
    readings: Schema
    scenario_class: type[Scenario]
    site_class: type[Site]
    scenario_names: tuple[str, ...]
    load_scenario: Callable[[str], Scenario]
    load_site: Callable[[Any], Site]
    action_space: Callable[[Any], Space[Any]]
    command: str
    cross_check: Callable[[Any, Readings], None]
    consistency: Callable[[Any], Consistency]
    make_world: Callable[[Any, Any], World]
    make_guard: Callable[[Any], Guard]
    make_features: Callable[[Any], Features]
    make_reward: Callable[[Any], Reward]
    make_scene: Callable[[Any], Scene]
    conditions: Callable[[Any, Readings], list[Condition]]
    gauges: Callable[[Any, Readings], Gauges]
    make_coordination: Callable[[Any], Coordination | None] = lambda site: None
    make_vector: Callable[[Any, int, int], Vector] | None = None
    variant_names: tuple[str, ...] = ()
    negligible: float = 0.0
    failure_in_kpi: bool = False
    failure_voids: bool = False
    beside: tuple[str, ...] = ()
    trade: tuple[str, str] | None = None
    everyday: tuple[str, ...] = ()
    drawn: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    draw_map: Callable[[Any, Mapping[str, Mapping[str, float]], str], Any] | None = None
    draw_episodes: Callable[[Any, Mapping[str, Mapping[str, Any]], float], Mapping[str, Any]] | None = None
    make_differentiable: Callable[[Any, int, int], Differentiable] | None = None
    training: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __reduce__(self) -> Any:
        """Pickle a registered system by its name, because many of its parts are functions that cannot be pickled."""
        known = self.name in SYSTEMS and get_system(self.name) is self
        return (get_system, (self.name,)) if known else super().__reduce__()

    def headline(self, scenario: Scenario) -> str:
        """Indicator by which controllers are compared on a scenario; lower is better."""
        return scenario.kpi or self.kpi

    def failed(self, kpis: Mapping[str, float]) -> bool:
        """Whether an episode with these indicators failed."""
        return kpis[self.failure] == 1


def lazy(module: str, name: str) -> Callable[..., Any]:
    """A function that imports a module on its first call and calls the module's function of the given name.

    It defers the import of parts that load a compiler, so that uses of other systems do not wait for it.
    """

    def make(*given: Any) -> Any:
        return getattr(import_module(module), name)(*given)

    return make


def get_system(name: str) -> System:
    """The system of that name.

    Raises:
        CityloopError: if there is none.
    """
    if name not in SYSTEMS:
        raise CityloopError(f"system {name!r} is unknown: there is {', '.join(SYSTEMS)}")
    return import_module(SYSTEMS[name]).SYSTEM


def load_scenario(ref: str | Path | Scenario, **settings: Any) -> Scenario:
    """A shipped scenario by reference, or a user's own from a YAML file, with settings changed.

    Args:
        ref: ``system/name``, the path of a ``.yaml`` file with a ``system`` key, or a scenario to change.
        settings: changes; nested keys with two underscores, e.g. ``sensors__dropout=0.2``.

    Raises:
        CityloopError: if the scenario is unknown, or a key or value does not fit.
    """
    if isinstance(ref, Scenario):
        scenario = ref
    else:
        scenario = _from_yaml(Path(ref)) if str(ref).endswith((".yaml", ".yml")) else _shipped(str(ref))
    if not settings:
        return scenario
    return scenario.override({key.replace("__", "."): value for key, value in settings.items()})


def _shipped(ref: str) -> Scenario:
    system_name, _, name = ref.partition("/")
    if system_name not in SYSTEMS and Path(ref).exists():
        raise CityloopError(f"{ref} is no scenario: give the path of a YAML file, or SYSTEM/NAME")
    system = get_system(system_name)
    if name not in (*system.scenario_names, *system.variant_names):
        names = ", ".join(f"{system_name}/{n}" for n in system.scenario_names)
        raise CityloopError(f"scenario {ref!r} is unknown: choose {names}, or give the path of a YAML file")
    return system.load_scenario(name)


def _from_yaml(path: Path) -> Scenario:
    content = read_yaml(path)
    if "system" not in content:
        raise CityloopError(f"{path}: key 'system' is missing: add it, one of {', '.join(SYSTEMS)}")
    system = get_system(str(content["system"]))
    if "name" not in content and not re.match(NAME, path.stem):
        raise CityloopError(
            f"{path}: no scenario can be called {path.stem!r}: add key 'name', of letters, digits, _ . -"
        )
    content.setdefault("name", path.stem)
    words = {key: value for key, value in content.items() if key in WORDS}
    resolved = _resolve(content, path.parent, system.scenario_class) | words
    return system.scenario_class.parse(resolved, where=str(path))


def _resolve(value: Any, folder: Path, kind: type[Scenario] | None = None) -> Any:
    """Resolve the paths in a YAML file, at any depth, relative to the folder of that file.

    Paths are texts that end with a suffix of `FILES`, and all values of the fields that a scenario class declares as
    paths, which may name folders.

    Args:
        value: content of the file, or a part of it.
        folder: folder of the file.
        kind: class of the scenario, for the top level.
    """
    if isinstance(value, dict):
        takes = (
            set() if kind is None else {name for name, field in kind.model_fields.items() if _path(field.annotation)}
        )
        return {key: _resolve_paths(v, folder) if key in takes else _resolve(v, folder) for key, v in value.items()}
    if isinstance(value, list):
        return [_resolve(v, folder) for v in value]
    return _resolve_paths(value, folder) if isinstance(value, str) and value.lower().endswith(FILES) else value


def _path(annotation: Any) -> bool:
    return Path in (annotation, *get_args(annotation))


def _resolve_paths(value: Any, folder: Path) -> Any:
    """Absolute path of a text, or of every text in a list."""
    if isinstance(value, list):
        return [_resolve_paths(v, folder) for v in value]
    return str(path_in(value, folder).resolve()) if isinstance(value, str) else value
