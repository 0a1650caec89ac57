"""Scenarios: a site with its timing and disturbances, and the seeds of training, validation and test."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from envs.core.errors import CityloopError
from envs.core.frozen import Frozen, first_problem

Split = Literal["train", "validation", "test"]

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
"""Pattern of scenario names, which become parts of addresses and folders."""

MOST_DECISIONS = 1_000_000
"""Most decisions of an episode: two months of signals, or ten years of gates. A longer one is taken for a mistake, and
would not fit into memory."""


class SeedRange(Frozen):
    """Seeds from ``first`` to ``last``, both included."""

    first: int = Field(ge=0)
    last: int = Field(lt=2**31)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.last < self.first:
            raise ValueError(f"the last seed must not be below the first, {self.first}")
        return self

    def __contains__(self, seed: int) -> bool:
        return self.first <= seed <= self.last

    def take(self, n: int) -> list[int]:
        """The first ``n`` seeds.

        Raises:
            CityloopError: if the range holds fewer.
        """
        if not 1 <= n <= self.last - self.first + 1:
            raise CityloopError(f"seeds is {n}: give from 1 to {self.last - self.first + 1}, which this split has")
        return self.after(0, n)

    def wrapped(self, seed: int, n: int) -> int:
        """First of ``n`` consecutive seeds that all lie in the range: ``seed``, wrapped around into the range.

        Raises:
            CityloopError: if the range holds fewer.
        """
        starts = self.last - self.first + 2 - n
        if starts < 1:
            raise CityloopError(f"seeds from {self.first} to {self.last} are fewer than the {n} that are needed")
        return self.first + (seed - self.first) % starts

    def after(self, skip: int, n: int) -> list[int]:
        """``n`` seeds behind the first ``skip``.

        Raises:
            CityloopError: if the range holds fewer.
        """
        if skip + n > self.last - self.first + 1:
            raise CityloopError(f"seeds from {self.first} to {self.last} are fewer than the {skip + n} that are needed")
        return list(range(self.first + skip, self.first + skip + n))


class Seeds(Frozen):
    """Seeds of the three splits. The ranges may not overlap."""

    test: SeedRange = SeedRange(first=0, last=9_999)
    validation: SeedRange = SeedRange(first=10_000, last=99_999)
    train: SeedRange = SeedRange(first=100_000, last=2**31 - 1)

    @model_validator(mode="after")
    def _disjoint(self) -> Self:
        ranges = sorted((self.test, self.validation, self.train), key=lambda r: r.first)
        if any(a.last >= b.first for a, b in itertools.pairwise(ranges)):
            raise ValueError("seeds of test, validation and train must not overlap")
        return self

    def split(self, seed: int) -> Split | None:
        """The split of a seed; None if it lies in none."""
        splits: tuple[Split, ...] = ("test", "validation", "train")
        return next((name for name in splits if seed in getattr(self, name)), None)


class Scenario(Frozen):
    """Base of every system's scenario.

    Attributes:
        system: the system, e.g. ``intersections``.
        name: short name, e.g. ``cologne8``.
        description: one line for people.
        duration_s: length of an episode in simulated seconds.
        seeds: seeds of training, validation and test.
    """

    unhashed_defaults: ClassVar[frozenset[str]] = frozenset()
    """Settings that were added after policies had been trained: at their defaults they are not part of the hash."""

    system: str
    name: str = Field(pattern=NAME)
    description: str = ""
    duration_s: float = Field(gt=0)
    seeds: Seeds = Seeds()

    @model_validator(mode="after")
    def _of_some_decisions(self) -> Self:
        if self.decisions < 1:
            raise ValueError(f"duration_s is {self.duration_s:g}: it must cover a decision of {self.decision_s:g} s")
        if self.decisions > MOST_DECISIONS:
            most = f"{MOST_DECISIONS:,} decisions of {self.decision_s:g} s"
            raise ValueError(f"duration_s is {self.duration_s:g}: give no more than {most}")
        return self

    @property
    def ref(self) -> str:
        """Reference on the command line: ``system/name``."""
        return f"{self.system}/{self.name}"

    @property
    def label(self) -> str:
        """Name among the scenarios of its system; for a variant, the name and what sets the variant apart."""
        return self.name

    @property
    def held_out(self) -> bool:
        """Whether the scenario is reserved for tests, so that nothing may be trained on it."""
        return False

    @property
    def kpi(self) -> str:
        """Indicator by which controllers are compared, lower is better; empty: the system's own (`System.kpi`)."""
        return ""

    @property
    def decision_s(self) -> float:
        """Simulated seconds between two decisions."""
        raise NotImplementedError

    @property
    def decisions(self) -> int:
        """Number of whole decision intervals in an episode, within rounding: 0.3 s hold three of 0.1 s."""
        return int(self.duration_s / self.decision_s + 1e-6)

    def files(self) -> list[Path]:
        """Files that the scenario depends on; their content, not their path, enters the hash."""
        return []

    @property
    def hash(self) -> str:
        """Short content hash: equal exactly if the scenarios are equal, wherever their files lie."""
        usual = {
            name for name in self.unhashed_defaults if getattr(self, name) == type(self).model_fields[name].default
        }
        content = self.model_dump(mode="json", exclude=usual)
        text = json.dumps(content, sort_keys=True)
        files = self.files()
        for folder in sorted({str(path.parent) for path in files}):  # a folder given as a whole: its files define it
            text = text.replace(json.dumps(folder), '""')
        for path in files:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            named = json.dumps(str(path))
            text = text.replace(named, json.dumps(digest)) if named in text else text + digest
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def override(self, settings: dict[str, Any]) -> Self:
        """A copy with some settings changed.

        Args:
            settings: dotted key → value, e.g. ``{"timing.min_green_s": 5}``.

        Raises:
            CityloopError: if a key is unknown or a value does not fit.
        """
        content: dict[str, Any] = self.model_dump(mode="json")
        for key, value in settings.items():
            *parents, last = key.split(".")
            place, known = content, f"scenario {self.ref}"
            for depth, parent in enumerate(parents, 1):
                if not isinstance(place.get(parent), dict):
                    raise CityloopError(f"setting {key!r} is unknown: {known} has {', '.join(place)}")
                place, known = place[parent], f"{'.'.join(parents[:depth])!r} of scenario {self.ref}"
            if last not in place:
                raise CityloopError(f"setting {key!r} is unknown: {known} has {', '.join(place) or 'no keys'}")
            place[last] = value
        return self.parse(content, where=f"scenario {self.ref}")

    def shortened(self, duration_s: float, first_s: float = 0.0) -> Self:
        """A copy of the given duration, for checks; systems choose a span in which something happens.

        Args:
            duration_s: seconds.
            first_s: seconds until something happens, see `System.first_s`.
        """
        return self.override({"duration_s": duration_s})

    @classmethod
    def parse(cls, content: object, where: str) -> Self:
        """Build a scenario from plain data.

        Raises:
            CityloopError: with ``where``, the first field that does not fit, its value and the remedy.
        """
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise CityloopError(f"{where}: {first_problem(error)}") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping.

    Raises:
        CityloopError: if the file is missing, is not YAML, gives a key twice, or holds something else.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise CityloopError(f"file {path} cannot be read ({reason}): give an existing YAML file") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # an impossible date raises ValueError
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None)
        reason = f" ({problem})" if problem else ""
        raise CityloopError(f"file {path} is not valid YAML{line}{reason}: correct it") from None
    if not isinstance(content, dict):
        raise CityloopError(f"file {path} holds {type(content).__name__}, not a mapping: write 'key: value' lines")
    return content


BOOL, TEXT, INT, FLOAT = (f"tag:yaml.org,2002:{kind}" for kind in ("bool", "str", "int", "float"))

PLAIN_NUMBER = re.compile(r"[-+]?(0[bx].*|0|[1-9][0-9_]*)")
"""Whole numbers that are read as written. Others are refused: YAML 1.1 reads 0100 as 64, 1:30 as 90, 1:30.5 as 90.5."""

UNUSABLE = re.compile(r"[\0\ud800-\udfff]")
"""Characters that escapes in double quotes can make, but neither a file's name nor UTF-8 can hold."""


class _Loader(yaml.SafeLoader):
    """A loader of plain data that is stricter than YAML 1.1.

    A duplicate key is an error, where the last value would silently win. Keys are always text, where ``on``, ``off``,
    ``yes`` and ``no`` would be true and false. Numbers must be decimal, see `PLAIN_NUMBER`. Text must be
    free of what no file's name may hold, see `UNUSABLE`. No value may contain itself.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if node in self.recursive_objects:
            problem = "a value contains itself: write it out"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return super().construct_object(node, deep=True)  # parts with the whole, or none would be found within itself

    def construct_yaml_str(self, node: yaml.ScalarNode) -> str:
        text: str = super().construct_yaml_str(node)
        if UNUSABLE.search(text):
            problem = f"{text!a} holds a character that no file's name may hold: write backslashes in single quotes"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return text

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        if not PLAIN_NUMBER.fullmatch(node.value):
            raise self._other_base(node)
        return super().construct_yaml_int(node)

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        if ":" in node.value:
            raise self._other_base(node)
        return super().construct_yaml_float(node)

    @staticmethod
    def _other_base(node: yaml.ScalarNode) -> yaml.constructor.ConstructorError:
        problem = f"{node.value} is a number to another base: write it to base ten, or text in quotation marks"
        return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise yaml.composer.ComposerError(None, None, f"key {key.value!r} is given twice", key.start_mark)
            seen.add(key.value)
            if key.tag == BOOL:
                key.tag = TEXT
        return node


_Loader.add_constructor(TEXT, _Loader.construct_yaml_str)
_Loader.add_constructor(INT, _Loader.construct_yaml_int)
_Loader.add_constructor(FLOAT, _Loader.construct_yaml_float)
