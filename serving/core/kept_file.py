"""Files that a process keeps for the next one."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from envs.core.frozen import first_problem

LOGGER = logging.getLogger("cityloop.serving")

Content = TypeVar("Content", bound=BaseModel)


def read_kept(path: Path | None, kind: type[Content], level: int, text: str) -> Content:
    """The content of a file; empty if there is none. A broken one is put aside, as it must not stop a service.

    Args:
        path: of the file.
        kind: of its content.
        level: of the log's message about a broken one.
        text: that message, with its path, the reason and its new name.
    """
    if path is None or not path.exists():
        return kind()
    try:
        return kind.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        aside = path.with_name(f"{path.name}.broken")
        with suppress(OSError):
            path.replace(aside)
        why = error.strerror if isinstance(error, OSError) else first_problem(error)
        LOGGER.log(level, text, path, why, aside.name)
        return kind()
