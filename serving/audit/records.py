"""Conversion between events and the records that the log writes of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from serving.core.events import Decision, Event, Shadowed, SiteChange, Structure

KINDS: dict[type[Event], str] = {Decision: "decision", Shadowed: "shadow", SiteChange: "change", Structure: "structure"}
"""Names of the records of events."""

OWN = {
    "segment": "a new file began: which code, sites and bundles are in use",
    "site": "a site was opened",
    "bundle": "a bundle came into use",
    "gap": "records were lost, and how many",
    "recovered": "the last process ended in the middle of a line, which was cut off",
    "damaged": "the chain was not as the log had left it",
    "unwritable": "something that could not be told",
    "pruned": "older segments were deleted",
    "stop": "the log was closed in an orderly way",
}
"""Records that the log makes itself."""

_CLASSES: dict[str, type[Event]] = {kind: cls for cls, kind in KINDS.items()}


def to_fields(event: Event) -> dict[str, Any]:
    """The record of an event; the body as text, as it is JSON and thus UTF-8."""
    if not isinstance(event, Decision):
        return dict(vars(event))
    return event.kept() | {"body": event.body.decode(errors="backslashreplace")}


def to_event(kind: str, content: Mapping[str, Any]) -> Event:
    """The event of a record; unknown keys are left out.

    Raises:
        KeyError, TypeError: if the record lacks something.
        AttributeError: if its body is no text.
    """
    cls = _CLASSES[kind]
    known: dict[str, Any] = {}
    for field in fields(cls):
        if field.name in content:
            value = content[field.name]
            known[field.name] = tuple(value) if isinstance(field.default, tuple) else value
    if "body" in known:
        known["body"] = known["body"].encode()
    return cls(**known)


def plain(value: Any) -> Any:
    """A value as it comes back from JSON: None where it is not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    return value
