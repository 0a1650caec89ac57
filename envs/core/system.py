"""A system: all parts that it contributes to the loop, as one record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from gymnasium import Space

from envs.core.conditions import Condition
from envs.core.consistency import Consistency
from envs.core.gauges import Gauges
from envs.core.readings import Readings, Schema
from envs.core.scenario import Scenario
from envs.core.scene import Scene
from envs.core.site import Site
from envs.core.world import Coordination, Features, Guard, Reward, World

if TYPE_CHECKING:
    from envs.core.differentiable import Differentiable
    from envs.core.vector import Vector


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
        first_s: scenario → seconds until something happens in an episode, e.g. the first vehicle departs.
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
    first_s: Callable[[Any], float] = lambda scenario: 0.0
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
