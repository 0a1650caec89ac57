"""Past decisions from the audit log, in the form in which the stream sends them."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from envs.core.site import Site
from serving.audit.query import Wanted
from serving.audit.trail import Trail
from serving.core.gauges import gauges_of

MOST_DECISIONS = 1000
"""Number of decisions in one answer."""

READ = 3000
"""Number of records that are read for it, the last ones."""


class Past(NamedTuple):
    """Decisions of a site within a time.

    Attributes:
        decisions: oldest first, evenly thinned.
        since: time from which on they are, seconds since 1970; later than asked for if there were too many to read.
    """

    decisions: list[dict[str, Any]]
    since: float


def past(audit: Trail | None, site: Site, since: float, until: float | None, limit: int) -> Past:
    """Decisions of a site within a time, evenly thinned to so many; reads files.

    Args:
        audit: the log; None: there is none, and the result is empty.
        site: of the decisions.
        since: wall clock in seconds since 1970.
        until: the same; None: now.
        limit: number of decisions, the last one included.
    """
    if audit is None:
        return Past([], since)
    read = 1 if limit == 1 else READ
    found = audit.recent(Wanted(site.system, site.name, since, until, "decision"), read)
    decisions = [record for record in found if record.get("kind") == "decision"]
    if decisions and (len(found) == read or len(decisions) < len(found)):  # there may be others before them
        since = decisions[0]["at_s"]
    step = -(-len(decisions) // limit) or 1
    return Past([_as_streamed(site, record) for record in decisions[::-1][::step][::-1]], since)


def _as_streamed(site: Site, record: dict[str, Any]) -> dict[str, Any]:
    """A record in the stream's form of a decision, with the request as it was sent."""
    content = {key: value for key, value in record.items() if key not in ("chain", "hash", "n", "kind")}
    body = content.pop("body")
    content |= {"request": orjson.Fragment(body), "requested": content.pop("requests", None)}
    return content | {"gauges": gauges_of(site, body)}
