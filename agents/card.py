"""A bundle's card, for machines and people: the policy's interface, origin, results and proven sites."""

from __future__ import annotations

from datetime import date
from typing import Any, Self

from pydantic import Field, model_validator

from envs.core.frozen import Frozen

FORMAT = 3
"""Version of the bundle's layout that this code writes. It also reads 1, which had no envelope, and 2, which did not
say where a policy was shown to do no harm."""


class Training(Frozen):
    """Training of a policy.

    Attributes:
        scenarios: reference → content hash.
        seeds: seeds in words, e.g. ``100000 to 2147483647``.
        decisions: number of agents' decisions that entered an update.
        algorithm: algorithm, e.g. ``PPO, shared policy, central critic``.
        command: command that reproduces the training.
    """

    scenarios: dict[str, str]
    seeds: str
    decisions: int = Field(ge=0)
    algorithm: str
    command: str


class Bounds(Frozen):
    """Bounds of continuous actions.

    Attributes:
        low, high: bounds of every number that an agent sets.
    """

    low: tuple[float, ...] = Field(min_length=1)
    high: tuple[float, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _paired(self) -> Self:
        if len(self.low) != len(self.high) or any(a >= b for a, b in zip(self.low, self.high, strict=False)):
            raise ValueError(f"high is {self.high}: give one number above each of low, {self.low}")
        return self


class PolicyCard(Frozen):
    """Description of a bundle.

    Attributes:
        format: version of the bundle's layout.
        system: the system that it controls.
        name: name for people and tables.
        sha256: checksum of ``policy.onnx``; `write_bundle` sets it.
        envelope_sha256: checksum of ``envelope.json``; empty: there is none.
        observation: part name → shape of one agent's part, None for sizes that differ from site to site.
        readings: `Schema.describe` of the readings in training.
        bounds: bounds of the numbers that an agent sets; None: actions are choices.
        training: data about the training.
        versions: package → version with which the bundle was made.
        evaluation: results on validation seeds and, added later, on test seeds.
        proven: name of a site, or pattern of names → whether on test seeds the policy was no worse than the rule of
            practice there; see `agents.shipped`.
        plants: name of a site in ``proven`` → hash of its plant (`Site.plant_hash`), where it is known; what was shown
            there does not hold for another place of that name.
        calibration: data of its envelope, and the rate of false alarms in healthy episodes.
        created: date of creation.
    """

    format: int = FORMAT
    system: str
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    envelope_sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    observation: dict[str, tuple[int | None, ...]] = Field(min_length=1)
    readings: list[dict[str, Any]]
    bounds: Bounds | None = None
    training: Training
    versions: dict[str, str]
    evaluation: dict[str, Any] = Field(default_factory=dict)
    proven: dict[str, bool] = Field(default_factory=dict)
    plants: dict[str, str] = Field(default_factory=dict)
    calibration: dict[str, Any] = Field(default_factory=dict)
    created: date

    def markdown(self) -> str:
        """The card as Markdown, for people."""
        scenarios = [f"{ref} (`{digest}`)" for ref, digest in self.training.scenarios.items()]
        facts = {
            "System": self.system,
            "Created": self.created.isoformat(),
            "SHA-256 of policy.onnx": f"`{self.sha256}`",
            "Trained on": ", ".join(scenarios),
            "Training seeds": self.training.seeds,
            "Decisions": f"{self.training.decisions:,}",
            "Algorithm": self.training.algorithm,
            "Made with": ", ".join(f"{package} {version}" for package, version in self.versions.items()),
        }
        parts = [f"| `{part}` | {_shape(shape)} |" for part, shape in self.observation.items()]
        lines = [f"# {self.name}", "", "| | |", "|---|---|", *(f"| {key} | {text} |" for key, text in facts.items())]
        lines += ["", "Reproduce it with:", "", "```", self.training.command, "```"]
        lines += ["", "## What it sees", "", "| part | shape of one agent's |", "|---|---|", *parts]
        lines += ["", "## What it reached", "", *_outline(self.evaluation or {"not evaluated": ""})]
        if self.proven:
            verdicts = {site: "no worse" if fine else "worse" for site, fine in self.proven.items()}
            lines += ["", "## Beside the rule of practice", "", "| site | on test seeds |", "|---|---|"]
            lines += [f"| `{site}` | {verdict} |" for site, verdict in verdicts.items()]
        if self.calibration:
            lines += ["", "## What it has seen", "", *_outline(self.calibration)]
        return "\n".join(lines) + "\n"


def _shape(shape: tuple[int | None, ...]) -> str:
    return " × ".join("any" if size is None else str(size) for size in shape)


def _outline(content: dict[str, Any], depth: int = 0) -> list[str]:
    """Nested plain data as a Markdown list; rows with equal columns as a table."""
    lines = []
    for key, value in content.items():
        nested = isinstance(value, dict)
        text = "" if nested else _text(value)
        lines.append(f"{'  ' * depth}- {key}" + (f": {text}" if text else ""))
        if nested:
            lines += _table(value) or _outline(value, depth + 1)
    return lines


def _table(rows: dict[str, Any]) -> list[str]:
    """Rows with equal columns as a Markdown table; empty for other data."""
    columns = [list(row) if isinstance(row, dict) else [] for row in rows.values()]
    if not columns or not columns[0] or any(names != columns[0] for names in columns):
        return []
    head = ["", f"| | {' | '.join(columns[0])} |", "|---" * (1 + len(columns[0])) + "|"]
    return [*head, *(f"| {name} | {' | '.join(map(_text, row.values()))} |" for name, row in rows.items()), ""]


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
