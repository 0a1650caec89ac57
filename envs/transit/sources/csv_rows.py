"""Rows of CSV files by column, as spreadsheets and programs write them, and the values in them."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unicodedata import normalize

from envs.core.errors import CityloopError

Row = Mapping[str, str]

SEPARATORS = ",;\t"
"""Separators of columns; the heading of a file shows which it uses."""


def read_rows(path: Path, columns: tuple[str, ...]) -> list[tuple[int, Row]]:
    """Rows of a CSV file with their numbers, the heading being row 1, without empty rows that spreadsheets leave.

    Raises:
        CityloopError: if the file cannot be read, a column is missing or there twice, or a row is longer than the
            heading.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            heading = file.readline()
            file.seek(0)
            reader = csv.DictReader(file, delimiter=max(SEPARATORS, key=heading.count), skipinitialspace=True)
            names = reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
            missing = [name for name in columns if name not in names]
            if missing:
                raise CityloopError(
                    f"{path}: column {missing[0]!r} is missing: the first row names {', '.join(columns)}"
                )
            twice = [name for name in dict.fromkeys(names) if name and names.count(name) > 1]
            if twice:
                raise CityloopError(f"{path}: column {twice[0]!r} is there twice: leave one out")
            rows = ((reader.line_num, _row(row, path, reader.line_num, len(names))) for row in reader)
            return [(number, row) for number, row in rows if any(value.strip() for value in row.values())]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CityloopError(f"file {path} cannot be read ({error}): give a CSV file in UTF-8") from None


def _row(row: Mapping[str | None, Any], path: Path, number: int, columns: int) -> Row:
    """A row by its columns, in Unicode's composed form (NFC): programs write accents as one character or as several.

    Values beyond the last column point to a decimal comma that has shifted all others, and are an error.
    """
    if any(row.get(None) or ()):
        raise CityloopError(
            f"{path}, row {number} has {columns + len(row[None])} values, the first row {columns}: "
            "write decimals with a point, and quote what holds a separator"
        )
    return {key: normalize("NFC", value or "") for key, value in row.items() if key is not None}


def number_in(text: str, path: Path, row: int, column: str) -> float:
    """A finite number in a column.

    Raises:
        CityloopError: if the text is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise CityloopError(f"{path}, row {row}: {column} is {text!r}: give a number")
    return value


def flag(text: str, path: Path, row: int, column: str) -> bool:
    """A 1 or 0 in a column.

    Raises:
        CityloopError: if the text is neither.
    """
    if text.strip() not in ("0", "1"):
        raise CityloopError(f"{path}, row {row}: {column} is {text!r}: give 1 or 0")
    return text.strip() == "1"
