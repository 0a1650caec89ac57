"""Parameters in the paths of routes, as the OpenAPI document describes them."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Path

SystemName = Annotated[str, Path(description="a system's name, as in `GET /v1/systems`")]
SiteName = Annotated[str, Path(description="a site's name, as in `GET /v1/systems`")]
AgentName = Annotated[str, Path(description="one of the site's agents")]
BookingId = Annotated[str, Path(description="a booking's `id`, from the answer that confirmed it")]
VehicleId = Annotated[str, Path(description="a vehicle's `id`, as in `GET vehicles`")]
AlarmNumber = Annotated[int, Path(description="an alarm's `id`, as in `GET /v1/alarms`")]
RunName = Annotated[str, Path(description="a run's `name`, as in `GET /v1/runs`")]

RoleVerb = Annotated[
    Literal["shadow", "canary", "promote", "demote", "rollback"],
    Path(
        description="shadow: the policy is asked for comparison; canary: it acts on a share of sites; promote: it is "
        "champion; demote: the challenger leaves; rollback: the champion before is back"
    ),
]
