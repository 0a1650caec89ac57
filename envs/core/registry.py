"""The systems that exist, and how a name becomes a scenario.

To add a system: write its folder under `envs/` with a `SYSTEM` in it, its baselines under `agents/baselines/`, and add
one line to `SYSTEMS`.
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
"""What ends so in a scenario's YAML is a file's name, wherever it stands but in `WORDS`."""

WORDS = ("system", "name", "description")
"""Keys of a scenario that are words, whatever they end with."""


@dataclass(frozen=True)
class System:
    """Everything that a system brings to the loop.

    Attributes:
        name: as in a scenario's reference.
        description: one line for people.
        kpi: the headline indicator, lower is better, where a scenario has no other (`headline`).
        failure: the indicator that is 1 where an episode failed, e.g. ``gridlock``.
        negligible: of the headline indicator, where episodes are compared as ratios: less counts as this much.
        failure_voids: whether a failed episode's other indicators mean nothing, so that they are never averaged in.
        beside: indicators that tables always show beside the headline, which says little without them.
        trade: two indicators of which one buys the other, drawn against each other where several settings of a
            scenario are evaluated.
        kpis: indicator → what it means, its unit in its name.
        readings: the schema of what its sensors say.
        scenario_class, site_class: the types of its scenarios and sites.
        scenario_names: the scenarios that ship.
        drawn: columns of the readings that are kept at every decision of an evaluated episode, to be drawn.
        choices: those of them that stand for one of several things: bars, where amounts are lines.
        draw_map: ``(site, controller → place → value, indicator)`` → a matplotlib figure of what happened where, for
            worlds that tell (`World.places`); the value is the mean over seeds.
        draw_episodes: ``(site, controller → column → values over time, seconds a decision)`` → name → figure, of the
            drawn readings on one seed.
        variant_names: labels of variants of them (`Scenario.label`), which load by that name too.
        load_scenario: short name → scenario.
        load_site: scenario → site, extracted from the plant's own files.
        action_space: site → what one agent may ask for.
        command: what a command sets, as the serving API calls it, e.g. ``stage``.
        cross_check: refuses readings of a site whose columns contradict each other or the site; raises `ReadingError`.
        consistency: site → what its readings must be like over time, for whoever watches sensors.
        make_world, make_guard, make_features, make_reward: build the parts.
        make_scene: site → what it looks like.
        conditions: ``(site, readings)`` → what an operator is to be told of.
        gauges: ``(site, readings)`` → a few numbers for a dashboard.
        everyday: the guard's reasons that are routine and do not count against whoever asked: limits of equipment and
            site that act every day.
        make_coordination: site → how a policy's agents agree there if their requests may conflict (None: they cannot);
            for systems with discrete actions.
        make_vector: ``(scenario, num_envs, seed)`` → plants as arrays in this process, where a system has them.
        make_differentiable: ``(scenario, num_envs, seed)`` → plants that gradients pass through, where there are any.
        training: algorithm → settings of the trainer that suit the system, where they differ from its own defaults.
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
        """By its name, where it is the one of that name: most of what it is made of are functions without one."""
        known = self.name in SYSTEMS and get_system(self.name) is self
        return (get_system, (self.name,)) if known else super().__reduce__()

    def headline(self, scenario: Scenario) -> str:
        """The indicator that a scenario's controllers are compared by, lower is better."""
        return scenario.kpi or self.kpi


def later(module: str, name: str) -> Callable[..., Any]:
    """What a module makes, called by its name; the module is imported when it is first asked.

    For parts of a system that bring a compiler: whoever looks at another system need not wait for it.
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


def load_scenario(ref: str | Path, **settings: Any) -> Scenario:
    """A shipped scenario by reference, or a user's own from a YAML file.

    Args:
        ref: ``system/name`` or the path of a ``.yaml`` file with a ``system`` key.
        settings: changes; nested keys with two underscores, e.g. ``sensors__dropout=0.2``.

    Raises:
        CityloopError: if it is unknown, or a key or value in it does not fit.
    """
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
    placed = _resolve(content, path.parent, system.scenario_class) | words
    return system.scenario_class.parse(placed, where=str(path))


def _resolve(value: Any, folder: Path, kind: type[Scenario] | None = None) -> Any:
    """Make names of files in a YAML file, at any depth, relative to that file; where a scenario of a kind takes a path,
    it may be a folder's, too.
    """
    if isinstance(value, dict):
        takes = (
            set() if kind is None else {name for name, field in kind.model_fields.items() if _path(field.annotation)}
        )
        return {key: _placed(v, folder) if key in takes else _resolve(v, folder) for key, v in value.items()}
    if isinstance(value, list):
        return [_resolve(v, folder) for v in value]
    return _placed(value, folder) if isinstance(value, str) and value.lower().endswith(FILES) else value


def _path(annotation: Any) -> bool:
    return Path in (annotation, *get_args(annotation))


def _placed(value: Any, folder: Path) -> Any:
    if isinstance(value, list):
        return [_placed(v, folder) for v in value]
    return str((folder / value).resolve()) if isinstance(value, str) else value
