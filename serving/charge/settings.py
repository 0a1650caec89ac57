"""Configuration of one site: settings that hold for any controller, and its controllers."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from agents.signing import public_key
from envs.core.errors import CityloopError
from envs.core.frozen import Frozen, first_problem
from serving.charge.roles import Mode, Roles
from serving.charge.rollback import RollbackSettings
from serving.checks.settings import CheckSettings
from serving.core.wire import MAX_DEADLINE_MS


class SiteSettings(Frozen):
    """Settings of a site that hold for any controller.

    Attributes:
        deadline_ms: how long an answer may take before the fallback gives it.
        queue: ticks under way at a time; one more is refused at once.
        rollback: when the fallback takes over from a policy, and when it gives back.
        checks: of the readings.
        trusted_keys: public keys (`cityloop sign` tells them), one of which must have signed a policy's bundle; none
            given: any bundle that is whole will do.
    """

    deadline_ms: float = Field(default=100.0, gt=0, le=MAX_DEADLINE_MS)
    queue: int = Field(default=16, ge=1, le=1000)
    rollback: RollbackSettings = RollbackSettings()
    checks: CheckSettings = CheckSettings()
    trusted_keys: tuple[str, ...] | None = None


class SiteConfig(SiteSettings):
    """A site with its controllers.

    Attributes:
        site: a scenario's reference, a scenario's YAML file, or a site's JSON file.
        champion, challenger, mode, share: see `Roles`.
        fallback: decides when the controller in charge cannot; the system's own if not given.
        booking: of trips, at a transit site; see `booking.settings`. None: there is none.
        monitor: structural monitor of a building (`agents.monitors.storeys`): a file, or ``shipped``, the one that
            ships for it, if one does. None: no monitor.
    """

    site: str
    champion: str = "policy"
    challenger: str | None = None
    mode: Mode = "shadow"
    share: float = Field(default=1.0, ge=0, le=1)
    fallback: str | None = None
    booking: dict[str, Any] | None = None
    monitor: str | None = "shipped"

    @field_validator("trusted_keys")
    @classmethod
    def _keys(cls, keys: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for key in keys or ():
            try:
                public_key(key)
            except CityloopError as error:
                raise ValueError(str(error)) from None
        return keys

    @property
    def roles(self) -> Roles:
        """The roles that are asked for."""
        return Roles(champion=self.champion, challenger=self.challenger, mode=self.mode, share=self.share)

    @model_validator(mode="after")
    def _roles_fit(self) -> Self:
        try:
            _ = self.roles
        except ValidationError as error:
            raise ValueError(first_problem(error)) from None
        return self
