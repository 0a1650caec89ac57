"""The desks of a configuration's sites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from envs.core.site import Site
from serving.booking.desk import Desk
from serving.booking.settings import booking_of


def open_desks(places: Sequence[tuple[str, Site, Mapping[str, Any] | None]], restore: bool = True) -> dict[str, Desk]:
    """A desk a site where trips are booked, by its name.

    Args:
        places: what each site comes from, the site, and its section ``booking``.
        restore: take up what is kept; otherwise touch no database, and only look whether everything fits.

    Raises:
        CityloopError: if something does not fit, or a database cannot be used.
    """
    settings = [found for place in places if (found := booking_of(*place)) is not None]
    desks: dict[str, Desk] = {}
    try:
        for site, one in settings if restore else ():
            desks[site.name] = Desk(site, one)
    except BaseException:
        for desk in desks.values():
            desk.close()
        raise
    return desks
