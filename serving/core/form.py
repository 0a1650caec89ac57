"""Forms that people and programs send: their base, and how they are read."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from envs.core.errors import ReadingError
from envs.core.frozen import mend_of, problem_of
from serving.core.refusals import brief
from serving.core.wire import refuse_twice

KEYS = {
    "extra_forbidden": "no such key: remove it or correct its spelling",
    "missing": "the key is missing: add it",
}
"""Pydantic's error types that concern a key → remedy."""

Read = TypeVar("Read", bound=BaseModel)


class Form(BaseModel):
    """Base of forms that operators send."""

    # Strict: `true` is no stage, and "60" no time.
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)


def read_form(form: type[Read], body: bytes, kinds: Collection[str] = ()) -> Read:
    """Read a form from the body of a request.

    Args:
        form: the model to read.
        body: JSON.
        kinds: names of models of which a field may be one.

    Raises:
        ReadingError: naming the first thing that does not fit.
    """
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ReadingError("body", body[:40].decode(errors="replace"), f"give JSON; {error}") from None
    try:
        read = form.model_validate(content)
    except ValidationError as error:
        field, problem = problem_of(error, kinds)
        found = None if problem["type"] == "missing" else problem["input"]
        raise ReadingError(brief(field or "body"), brief(found), _mend(form, problem)) from None
    try:
        refuse_twice(body)
    except RecursionError:  # no form is as deep, so it is in what a second value of the same key replaced
        raise ReadingError("body", None, "it has a key twice: give it once") from None
    return read


def _mend(form: type[BaseModel], problem: Any) -> str:
    if not problem["loc"]:
        return f"give an object with the keys {', '.join(one.alias or name for name, one in form.model_fields.items())}"
    if problem["type"] in KEYS:
        return KEYS[problem["type"]]
    if problem["loc"][0] == "reason":
        return "say why, in 1 to 500 characters"
    if problem["loc"][0] == "command":
        return "give one number, or a list of as many as the agent sets"
    if problem["type"] == "string_pattern_mismatch":  # of names
        return "give letters, digits and . _ : - alone"
    return mend_of(problem)
