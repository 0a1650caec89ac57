"""Conversion between protobuf messages and the JSON of HTTP.

A tick in protobuf becomes the JSON that it would be over HTTP, so that the audit log, a replay, and an answer to a
repeated question know one form alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson

from envs.core.errors import ReadingError
from serving.core.refusals import Refused
from serving.rpc import cityloop_pb2 as pb


def body_of(request: pb.ActRequest) -> bytes:
    """The body of a tick; NaN, a silent sensor, is null.

    Raises:
        ReadingError: if a value is infinite, which JSON cannot say.
    """
    # Protobuf's maps have no order: the same tick sent again is to be the same body.
    readings = {name: list(request.readings[name].values) for name in sorted(request.readings)}
    for name, values in readings.items():
        if math.inf in values or -math.inf in values:
            raise ReadingError(f"readings.{name}", "infinite", "give a number, or NaN where the sensor is silent")
    content: dict[str, Any] = {"tick": request.tick, "time_s": request.time_s, "readings": readings}
    if request.HasField("deadline_ms"):
        content["deadline_ms"] = request.deadline_ms
    if request.HasField("episode"):
        content["episode"] = request.episode
    if request.ages_s:
        content["ages_s"] = dict(sorted(request.ages_s.items()))
    return orjson.dumps(content)


def answer_of(answer: Mapping[str, Any]) -> pb.ActAnswer:
    """An answer message, from the answer over HTTP; see `wire.ActAnswer`."""
    return pb.ActAnswer(
        tick=answer["tick"],
        time_s=answer["time_s"],
        commands={agent: _command(command) for agent, command in answer["commands"].items()},
        interventions=[pb.Change(**change) for change in answer["interventions"]],
        source=answer["source"],
        controller=answer["controller"],
        bundle=answer["bundle"],
        fallback=answer["fallback"],
        fallback_reason=answer["fallback_reason"],
        local=answer["local"],
        overridden=answer["overridden"],
        imputed={reading: pb.Imputed(value=value) for reading, value in answer["imputed"].items()},
        findings=answer["findings"],
        latency_ms=answer["latency_ms"],
    )


def _command(command: Mapping[str, Any]) -> pb.Command:
    ((name, value),) = command.items()
    if isinstance(value, str):
        return pb.Command(name=name, program=value)
    return pb.Command(name=name, values=value if isinstance(value, list) else [value])


def problem_of(error: Refused) -> pb.Problem:
    """The reason why a tick of a loop was not decided, as a message."""
    return pb.Problem(
        status=error.status,
        field=error.field,
        value="" if error.value is None else str(error.value),
        mend=error.mend,
        retry_after_s=error.retry_after_s or 0.0,
    )
