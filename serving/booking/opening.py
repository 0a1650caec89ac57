"""Opening the booking desks of a configuration's sites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from envs.core.site import Site
from envs.transit.site import TransitSite
from serving.booking.settings import booking_of
from serving.tick.sites import SiteService

if TYPE_CHECKING:
    from serving.booking.desk import Desk


def staffed(site: Site, given: Mapping[str, Any] | None) -> Site:
    """A site with as many vehicles as its section ``booking`` names, if it names any."""
    vehicles = None if given is None else given.get("vehicles")
    if not isinstance(site, TransitSite) or not isinstance(vehicles, list | tuple) or not vehicles:
        return site
    return site.model_copy(update={"vehicles": len(vehicles)})


def check_database(url: str, site: str) -> None:
    """Make sure that a site's database can be used.

    Raises:
        CityloopError: if it cannot.
    """
    from serving.booking.store import BookingStore  # SQLAlchemy's tables, which nobody needs without bookings

    BookingStore(url, site).close()


def open_desks(
    places: Sequence[tuple[str, Site, Mapping[str, Any] | None]],
    services: Mapping[str, SiteService],
    restore: bool = True,
) -> dict[str, Desk]:
    """Booking desks by the names of their sites.

    Args:
        places: reference of each site, the site, and its section ``booking``.
        services: of all sites, by ``system/site``; they decide where vehicles stand by.
        restore: continue from the stored bookings; otherwise no database is opened, and only the settings are checked.

    Raises:
        CityloopError: if something does not fit, or a database cannot be used.
    """
    settings = [found for place in places if (found := booking_of(*place)) is not None]
    desks: dict[str, Desk] = {}
    if not settings or not restore:
        return desks
    from serving.booking.desk import Desk  # the kernel, which takes longer to load than all the rest
    from serving.booking.zones import Zones

    try:
        for site, one in settings:
            desk = desks[site.name] = Desk(site, one)
            desk.zones = Zones(services[f"{site.system}/{site.name}"]) if one.standby else None
    except BaseException:
        for desk in desks.values():
            desk.close()
        raise
    return desks
