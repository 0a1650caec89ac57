"""A site plus what happens to it: how it is timed, what disturbs it, and which seeds are for what."""

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
"""What a scenario may be called: it becomes part of addresses and of folders."""


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
        return list(range(self.first, self.first + n))

    def row(self, seed: int, n: int) -> int:
        """Where ``n`` seeds in a row begin, all of the range: at ``seed``, counted on from the first past the end.

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
    """Which seeds are for what. The three ranges may not overlap."""

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
        """The split that a seed belongs to, if any."""
        splits: tuple[Split, ...] = ("test", "validation", "train")
        return next((name for name in splits if seed in getattr(self, name)), None)


MOST_DECISIONS = 1_000_000
"""Of an episode: two months of signals, ten years of gates. What is longer is a slip, and would not fit into memory."""


class Scenario(Frozen):
    """Base of every system's scenario.

    Attributes:
        system: the system, e.g. ``intersections``.
        name: short name, e.g. ``cologne8``.
        description: one line for people.
        duration_s: length of an episode in simulated seconds.
        seeds: which seeds are for training, validation and test.
    """

    later: ClassVar[frozenset[str]] = frozenset()
    """Settings that scenarios had been trained on without: at their defaults they are no part of the hash."""

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
        """How the scenario is called on the command line: ``system/name``."""
        return f"{self.system}/{self.name}"

    @property
    def label(self) -> str:
        """How the scenario is called among others of its system: its name, and what sets variants of it apart."""
        return self.name

    @property
    def held_out(self) -> bool:
        """Whether it is for tests alone: nothing may be trained on it."""
        return False

    @property
    def kpi(self) -> str:
        """The indicator that its controllers are compared by, if it is not the system's own; lower is better."""
        return ""

    @property
    def decision_s(self) -> float:
        """Simulated seconds between two decisions."""
        raise NotImplementedError

    @property
    def decisions(self) -> int:
        """Decisions in an episode: whole intervals, where 0.3 s hold three of 0.1 s, which they do not in binary."""
        return int(self.duration_s / self.decision_s + 1e-6)

    def files(self) -> list[Path]:
        """Files that the scenario stands on; their content, not their place, goes into the hash."""
        return []

    @property
    def hash(self) -> str:
        """A short content hash: equal exactly when the scenarios are, wherever their files lie."""
        usual = {name for name in self.later if getattr(self, name) == type(self).model_fields[name].default}
        content = self.model_dump(mode="json", exclude=usual)
        text = json.dumps(content, sort_keys=True)
        files = self.files()
        for folder in sorted({str(path.parent) for path in files}):  # given as a whole, its files say what is in it
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

    def shortened(self, duration_s: float) -> Self:
        """The same, cut to a time in which something happens."""
        return self.override({"duration_s": duration_s})

    @classmethod
    def parse(cls, content: object, where: str) -> Self:
        """Build a scenario from plain data.

        Raises:
            CityloopError: naming the place, the first field that does not fit, its value and the mend.
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
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a day that no month has is a ValueError
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
"""A whole number that says what it seems to: YAML 1.1 reads 0100 as 64, 1:30 as 90, and 1:30.5 as 90.5."""


class _Loader(yaml.SafeLoader):
    """Plain data, of which no key is given twice: the last one would win without a word.

    Keys are names: YAML 1.1 would take ``on``, ``off``, ``yes`` and ``no`` for true and false. Numbers are those that
    they look like.
    """

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


_Loader.add_constructor(INT, _Loader.construct_yaml_int)
_Loader.add_constructor(FLOAT, _Loader.construct_yaml_float)
