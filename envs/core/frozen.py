"""Typed, immutable records stored as JSON, and one-sentence messages for validation errors."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from envs.core.errors import CityloopError
from envs.core.machine.files import write_bytes

KIND = re.compile(r"bool|int|float|str|constrained-\w+|(?:list|tuple|dict)\[.*\]|function-.*")
"""Names of union members that pydantic inserts into the location of an error."""

NUMBERS = (int, float, int | None, float | None)
"""Annotations of fields that hold a number."""

PATHS = (Path, Path | None)
"""Annotations of fields that hold a path."""


class Frozen(BaseModel):  # noqa: PLW1641 - pydantic adds __hash__ to frozen models
    """A typed, immutable record that refuses unknown keys, and the numbers that JSON lacks: inf and NaN.

    It equals another of its class with the same fields. Cached properties, which may be arrays, do not count.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in type(self).model_fields)

    @model_validator(mode="before")
    @classmethod
    def _none_for_another(cls, content: Any) -> Any:
        """Refuse two conversions of pydantic: ``true`` to 1, and an empty string to the current folder."""
        for name, field in cls.model_fields.items() if isinstance(content, dict) else ():
            if isinstance(content.get(name), bool) and field.annotation in NUMBERS:
                raise ValueError(f"{name} is {str(content[name]).lower()}: give a number")
            if content.get(name) == "" and field.annotation in PATHS:
                raise ValueError(f"{name} is '': give a path, or leave it out")
        return content

    def to_file(self, path: Path) -> None:
        """Write the record as JSON, atomically.

        Raises:
            OSError: if the file cannot be written.
        """
        write_bytes(path, self.model_dump_json(indent=1).encode() + b"\n")

    @classmethod
    def from_file(cls, path: Path, what: str, mend: str = "give an existing file") -> Self:
        """Read a record from JSON.

        Args:
            path: path of the file.
            what: name of the file's kind in error messages.
            mend: remedy in the message if the file cannot be read.

        Raises:
            CityloopError: if the file is missing or does not hold such a record.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise CityloopError(f"{what} {path} cannot be read ({error.strerror}): {mend}") from None
        except ValidationError as error:
            raise CityloopError(f"{what} {path}: {first_problem(error)}") from None


MENDS = {
    **dict.fromkeys(("tuple_type", "list_type"), "give a list"),
    **dict.fromkeys(("dict_type", "model_type"), "give keys and their values"),
    "path_type": "give a file's path",
    **dict.fromkeys(("bool_type", "bool_parsing"), "give true or false"),
    "missing": "it is missing: add it",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "give a whole number"),
    **dict.fromkeys(("float_type", "float_parsing", "finite_number"), "give a finite number"),
    "greater_than_equal": "give at least {ge}",
    "greater_than": "give more than {gt}",
    "less_than_equal": "give at most {le}",
    "less_than": "give less than {lt}",
    "literal_error": "give {expected}",
    "too_short": "give at least {min_length}",
    "string_type": "give text, in quotation marks",
    "string_too_short": "give some text",
    "string_too_long": "give at most {max_length} characters",
    **dict.fromkeys(
        ("datetime_type", "datetime_parsing", "datetime_from_date_parsing", "timezone_aware"),
        "give a date and time with its zone, such as 2026-01-31T08:30:00Z",
    ),
}
"""Pydantic's error type → remedy that replaces its message; braces are filled in from the error's context."""

LONG = 80
"""Longest text of a mapping, in characters, that an error message repeats."""


def problem_of(error: ValidationError, kinds: Collection[str] = ()) -> tuple[str, Any]:
    """The first field of a pydantic error, dotted, and pydantic's description of its problem.

    For a field with a union type, pydantic reports one problem per member and includes the member's name in the
    location. The intended member is taken to be the best match: the one whose problem has the longest location.

    Args:
        error: the validation error.
        kinds: names of models that are members of such unions.
    """

    def place(problem: Any) -> list[str]:
        return [str(part) for part in problem["loc"] if not (part in kinds or KIND.fullmatch(str(part)))]

    first, *rest = error.errors(include_url=False)
    begin = place(first)
    nearest = [first, *(one for one in rest if place(one)[: len(begin)] == begin)]
    meant = max(nearest, key=lambda one: len(one["loc"]))
    return ".".join(place(meant)), meant


def mend_of(problem: Any) -> str:
    """The remedy for a problem that pydantic describes."""
    if problem["type"] not in MENDS:
        return str(problem["msg"]).removeprefix("Value error, ")
    return MENDS[problem["type"]].format(**problem.get("ctx", {}))


def first_problem(error: ValidationError) -> str:
    """The first problem of a pydantic error as one sentence: field, value, remedy."""
    field, problem = problem_of(error)
    if problem["type"] == "extra_forbidden":
        return f"unknown key {field!r}: remove it or correct its spelling"
    if problem["type"] == "missing":
        return f"key {field!r} is missing: add it"
    message = mend_of(problem)
    if not field:
        return message
    value = repr(problem["input"])
    if isinstance(problem["input"], dict) and len(value) > LONG:  # the message names the key in question
        return f"{field}: {message}"
    return f"{field} is {value}: {message[0].lower()}{message[1:]}"
