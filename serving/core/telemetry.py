"""Telemetry of a plant beside its ticks, for people who look on: what moves in it, and its cost so far.

Nothing is decided from it. A simulator can also report the cost under the fallback, from a twin that it runs.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from serving.core.form import Form

MOST_THINGS = 2000
Name = Annotated[str, Field(max_length=100)]


class ThingForm(Form):
    """Something that moves about, in the unit of the site's scene."""

    id: Name = Field(description="the same as long as it is there")
    x: float = Field(description="as of the scene's points")
    y: float = Field(description="as of the scene's points")
    load: float = Field(default=0.0, description="who or what is aboard; 0: nobody but a driver")


class Cost(Form):
    """What an episode has cost so far; less is better."""

    label: Name = Field(description="what it is, with its unit")
    value: float = Field(description="up to now")


class Twin(Form):
    """What the same episode has cost so far in a twin of the plant, under another controller."""

    controller: Name = Field(description="who decides there")
    value: float = Field(description="up to now")


class TelemetryForm(Form):
    """What a plant tells beside its ticks."""

    time_s: float = Field(description="the plant's clock in seconds")
    things: list[ThingForm] = Field(default_factory=list, max_length=MOST_THINGS, description="what moves about in it")
    cost: Cost | None = Field(default=None, description="what its episode has cost")
    twin: Twin | None = Field(default=None, description="what that costs in a twin of the plant")


class Telemetry(BaseModel):
    """The same with where and when, as it is streamed."""

    model_config = ConfigDict(extra="forbid")

    system: str
    site: str
    at_s: float
    time_s: float
    things: list[ThingForm]
    cost: Cost | None
    twin: Twin | None
