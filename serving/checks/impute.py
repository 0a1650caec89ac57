"""Values that stand in for readings: their names, and how a replay puts them in again."""

from __future__ import annotations

import math
from collections.abc import Mapping

from envs.core.readings import Readings


def put_in(readings: Readings, imputed: Mapping[str, float | None]) -> Readings:
    """The readings that a policy saw.

    Args:
        readings: as they came, checked by their schema.
        imputed: ``column[k]`` → stand-in, as in the answer and the audit log; None: null.

    Raises:
        ValueError: if a name is invalid, or there is no such reading.
    """
    if not imputed:
        return readings
    out = dict(readings)
    for name, value in imputed.items():
        column, _, index = name.removesuffix("]").partition("[")
        if column not in readings or not index.isdigit() or int(index) >= len(readings[column]):
            raise ValueError(f"imputed value {name!r} is of no reading")
        if out[column] is readings[column]:
            out[column] = readings[column].copy()
        out[column][int(index)] = math.nan if value is None else value
    return out
