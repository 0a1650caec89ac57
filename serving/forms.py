"""Operators' requests and their answers: roles of policies, commands by hand, the state of a site."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from envs.core.errors import CityloopError
from envs.core.frozen import first_problem
from serving.charge.overrides import MAX_EXPIRES_S, Override
from serving.charge.roles import Roles
from serving.core.form import Form
from serving.core.wire import Change, InCharge, Model

REASON = Field(pattern=r"\S", max_length=500, description="why; it is kept in the audit log")


class UserConfig(Form):
    """Content of a deployment's ``user_config``."""

    sites: dict[str, Roles] = Field(default_factory=dict, description="system/site → the roles there")


class RoleChange(Form):
    """A change of who has which role."""

    policy: str | None = Field(
        default=None,
        min_length=1,
        max_length=500,
        description="a controller's name, 'policy', or a bundle's path; the present challenger if not given",
    )
    share: float = Field(default=1.0, ge=0, le=1, description="of all sites on which a canary acts")
    now: bool = Field(default=False, description="whether a canary begins at once, within the present episode")
    expected: str | None = Field(
        default=None,
        min_length=1,
        max_length=500,
        description="who is meant: the challenger that is promoted or demoted, or the champion to roll back to; "
        "nothing is changed if it is another by now",
    )
    reason: str = REASON


class OverrideCheck(Form):
    """A command by hand that somebody thinks about."""

    agent: str | None = Field(default=None, description="whose; all agents' if not given")
    command: float | list[float] = Field(description="what the agent is to do: one number, or as many as it sets")


class OverrideRequest(Form):
    """A command by hand."""

    command: float | list[float] = Field(description="what the agent is to do: one number, or as many as it sets")
    reason: str = REASON
    expires_s: float = Field(gt=0, le=MAX_EXPIRES_S, description="seconds from now that it holds")


class ByHand(Model):
    """What the guard makes of commands by hand, on the last readings that were seen."""

    tick: int | None = Field(description="of those readings; null: none were seen yet, an empty plant is assumed")
    commands: dict[str, dict[str, Any]] = Field(description="agent → what would be, or is, carried out")
    interventions: list[Change] = Field(description="what the guard changed, or would")


class Overridden(Model):
    """Commands by hand that hold."""

    overrides: dict[str, Override] = Field(description="agent → the command by hand")
    guard: ByHand | None = Field(default=None, description="what the guard makes of them now")
    saved: bool = Field(default=True, description="whether they outlive a crash; false where the disk refuses")


class Policies(Model):
    """Who has which role at a site."""

    roles: Roles
    in_charge: InCharge
    waiting: bool = Field(description="whether a canary waits for the next episode")
    rates: dict[str, float] = Field(description="what the watch over the one in charge has counted, as shares")
    dropped: int = Field(description="ticks that a challenger in the shadow had no time for")
    known: list[str] = Field(description="controllers that can be named")
    saved: bool = Field(default=True, description="whether they outlive a crash; false where the disk refuses")


class SiteStanding(Model):
    """How things stand at a site."""

    last: dict[str, Any] | None = Field(description="the last answer")
    age_s: float | None = Field(description="how old it is")
    in_charge: InCharge
    roles: Roles
    episode: str | None = Field(description="name of the plant's present run; null: it has none")
    overrides: dict[str, Override] = Field(description="agent → the command by hand")
    rates: dict[str, float] = Field(description="what the watch over the one in charge has counted, as shares")
    checks: dict[str, Any] | None = Field(description="how the sensors are; null where readings are not checked")

    @model_validator(mode="after")
    def _age_fits(self) -> Self:
        if (self.last is None) != (self.age_s is None):
            raise ValueError("an age without an answer")
        return self


def read_roles(content: Any) -> dict[str, Roles]:
    """The roles that a deployment's ``user_config`` asks for.

    Raises:
        CityloopError: naming the first thing that does not fit.
    """
    try:
        return UserConfig.model_validate(content or {}).sites
    except ValidationError as error:
        raise CityloopError(first_problem(error)) from None
