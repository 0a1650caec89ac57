"""Policy bundles: trained policies in a form that is independent of the trainer.

A bundle is a folder with ``policy.onnx`` (observation parts → masked logits), ``policy.json`` (a `PolicyCard`, see
`agents.card`: interface and origin), ``CARD.md`` (the same for people), optionally ``envelope.json`` (an `Envelope`:
statistics of healthy episodes) and ``signature.json`` (see `agents.signing`). Loading a bundle runs no code from it: no
pickle, no custom operators, no other files. Neither torch nor Ray is needed.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any, Self
from weakref import WeakValueDictionary

import numpy as np
import onnxruntime
from gymnasium.spaces import Box, Space
from pydantic import ValidationError

from agents.card import FORMAT, PolicyCard
from agents.envelope import Envelope, read_envelope
from agents.plain_onnx import check_plain, check_size
from agents.shipped import CARD
from agents.signing import SIGNATURE, check_signature
from envs.core.errors import CityloopError, first_line
from envs.core.frozen import first_problem
from envs.core.machine.files import make_folder, replace_folder
from envs.core.readings import Readings
from envs.core.registry import get_system
from envs.core.site import Site
from envs.core.world import Controller, Coordination, Observation, Requests

LOGGER = logging.getLogger(__name__)

MODEL, CARD_TEXT, ENVELOPE = "policy.onnx", "CARD.md", "envelope.json"
"""Names of a bundle's files, beside those of its card and its signature."""

BESIDE = ("storeys.json",)
"""Files that may lie in a bundle's folder without being part of it: the monitor of the building."""

OUTPUT = "logits"
"""Name of the model's floating-point output, one row per agent. For discrete actions it has masked logits
``(agents, actions)``. For ``k`` continuous actions it has their means ``(agents, k)``, scaled so that -1 and 1 are the
card's bounds, possibly followed by further columns."""

FLOATING = ("tensor(float)", "tensor(double)", "tensor(float16)")
"""Possible types of the output, as onnxruntime names them."""


def check_target(folder: Path) -> None:
    """Check that a bundle may be written to a folder.

    Args:
        folder: folder of the bundle; missing parents are created.

    Raises:
        CityloopError: if the folder holds anything other than a bundle, or cannot be made.
    """
    known = {MODEL, CARD, CARD_TEXT, ENVELOPE, SIGNATURE, *BESIDE}
    if folder.exists() and not (folder.is_dir() and {path.name for path in folder.iterdir()} <= known):
        raise CityloopError(f"{folder} is not a policy bundle and is not overwritten: choose another folder")
    make_folder(folder.parent, "folder of the bundle")


def write_bundle(folder: Path, onnx: bytes, card: PolicyCard, envelope: bytes | None = None) -> None:
    """Write a bundle atomically. An older bundle is replaced, with a warning if that removes a signature.

    Files in `BESIDE` are kept.

    Args:
        folder: folder of the bundle; missing parents are created.
        onnx: the model.
        card: its card; checksums are set here.
        envelope: content of ``envelope.json``; None: no envelope.

    Raises:
        CityloopError: see `check_target`.
        OSError: naming the folder, if it cannot be written, e.g. because the disk is full; an older bundle remains.
    """
    folder = folder.absolute()
    check_target(folder)
    signed = (folder / SIGNATURE).is_file()
    sums = {"sha256": _sha256(onnx), "envelope_sha256": "" if envelope is None else _sha256(envelope)}
    card = card.model_copy(update=sums)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        new = work / "new"
        new.mkdir()
        (new / MODEL).write_bytes(onnx)
        (new / CARD).write_text(card.model_dump_json(indent=1) + "\n")
        (new / CARD_TEXT).write_text(card.markdown())
        if envelope is not None:
            (new / ENVELOPE).write_bytes(envelope)
        for name in BESIDE:
            if (folder / name).is_file():
                shutil.copy2(folder / name, new)
        replace_folder(folder, new)
    except OSError as error:
        error.filename = str(folder)  # a full disk names no file
        raise
    finally:
        shutil.rmtree(work)
    if signed:
        LOGGER.warning("%s was signed, and what is there now is not: sign it with `cityloop sign`", folder)


def add_results(
    folder: Path,
    results: Mapping[str, Any],
    proven: Mapping[str, bool] | None = None,
    plants: Mapping[str, str] | None = None,
) -> None:
    """Add results to the card of a bundle; results of the same name are replaced.

    Args:
        folder: folder of the bundle.
        results: entries for the card's ``evaluation``.
        proven: entries for the card's ``proven``.
        plants: entries for the card's ``plants``.

    Raises:
        CityloopError: if the bundle cannot be loaded or written.
    """
    card = Policy.load(folder).card
    update = {
        "evaluation": card.evaluation | dict(results),
        "proven": card.proven | dict(proven or {}),
        "plants": card.plants | dict(plants or {}),
    }
    card = card.model_copy(update=update)
    _rewrite(folder, card, _read(folder / ENVELOPE) if card.envelope_sha256 else None)


def add_envelope(folder: Path, envelope: Envelope, facts: Mapping[str, Any]) -> None:
    """Store an envelope in a bundle, replacing an older one; the model is not changed.

    Args:
        folder: folder of the bundle.
        envelope: the new envelope.
        facts: facts about the calibration, for the card.

    Raises:
        CityloopError: if the bundle cannot be loaded or written.
    """
    card = Policy.load(folder).card.model_copy(update={"calibration": dict(facts)})
    _rewrite(folder, card, envelope.model_dump_json().encode() + b"\n")


def _rewrite(folder: Path, card: PolicyCard, envelope: bytes | None) -> None:
    card = card.model_copy(update={"format": FORMAT})
    try:
        write_bundle(folder, _read(folder / MODEL), card, envelope)
    except OSError as error:
        raise CityloopError(
            f"{folder} cannot be written ({error.strerror}): copy the bundle, and change that"
        ) from None


_LOADED: WeakValueDictionary[str, onnxruntime.InferenceSession] = WeakValueDictionary()
"""Loaded models by SHA-256. The sites of a city often share a model, whose weights then stay in the processor's cache.
Running a session does not change it, so threads may share it."""


class Policy(Controller):
    """A policy from a bundle, without memory.

    Attributes:
        name: name on its card.
        card: its card.
        envelope: its envelope; None: it was not calibrated.
    """

    _coordination: Coordination | None = None

    def __init__(self, card: PolicyCard, session: onnxruntime.InferenceSession, envelope: Envelope | None = None):
        self.card, self.name, self.envelope = card, card.name, envelope
        self._session = session
        if card.bounds is not None:
            self._low, self._high = np.array(card.bounds.low), np.array(card.bounds.high)

    @classmethod
    def load(cls, path: Path, system: str | None = None, trusted: Sequence[str] | None = None) -> Self:
        """Verify a bundle and load it.

        Args:
            path: folder of the bundle.
            system: system of which the bundle must be.
            trusted: public keys, one of which must have signed it; None: signatures are not required.

        Raises:
            CityloopError: if a file is missing or altered, the format, system or readings schema differs, the model is
                not plain ONNX with the card's inputs, or the signature is not trusted.
        """
        if trusted is not None:
            check_signature(path, trusted)
        card = read_card(path)
        _check_fit(path, card, system)
        model = _read_model(path / MODEL)
        _check_sum(path / MODEL, model, card.sha256, "export the policy again")
        check_plain(path / MODEL, model)
        session = _LOADED.get(card.sha256) or _LOADED.setdefault(card.sha256, _session(path, model))
        _check_inputs(path, card, session)
        return cls(card, session, _read_envelope(path, card))

    def at(self, site: Site) -> Self:
        """The policy bound to a site, with coordination of conflicting requests (`System.make_coordination`).

        Raises:
            CityloopError: if the policy's outputs do not fit the site's action space.
        """
        system = get_system(site.system)
        self._check_actions(system.action_space(site))
        here = copy(self)
        here._coordination = system.make_coordination(site)
        return here

    def _check_actions(self, space: Space[Any]) -> None:
        """Check that the action space of one agent fits the policy: choices or numbers, and how many.

        Raises:
            CityloopError: if it does not.
        """
        numbers = space.shape[0] if isinstance(space, Box) else 0
        given = 0 if self.card.bounds is None else len(self._low)
        if numbers != given:
            says = f"bounds of {given} numbers" if given else "no bounds"
            mend = (
                f"give the card bounds of {numbers}"
                if numbers
                else "leave them out, as an agent chooses one of several"
            )
            raise CityloopError(f"policy {self.name!r} has {says} and an agent's actions are {space}: {mend}")

    def logits(self, observation: Observation) -> np.ndarray:
        """Output of the model, `OUTPUT`: masked logits, or means of continuous actions.

        Raises:
            CityloopError: if the observation does not fit the model, or its output is NaN, or infinite where
                actions are numbers, or not one row per agent.
        """
        try:
            inputs = {name: observation[name] for name in self.card.observation}
            logits: np.ndarray = self._session.run((OUTPUT,), inputs)[0]
        except KeyError as error:
            raise CityloopError(
                f"policy {self.name!r} needs observation part {error.args[0]!r}: export it anew"
            ) from None
        except Exception as error:  # onnxruntime's errors have no common base of their own
            raise CityloopError(f"policy {self.name!r} does not fit the observation: {first_line(error)}") from None
        # Choices may be -inf, which is what a mask makes of them; numbers at infinity would be commands of full travel.
        if np.isnan(logits).any() or (self.card.bounds is not None and np.isinf(logits).any()):
            found = "NaN" if np.isnan(logits).any() else "a number that is infinite"
            raise CityloopError(f"policy {self.name!r} gave {found}: look at the readings, or use another bundle")
        self._check_output(logits, observation)
        return logits

    def _check_output(self, logits: np.ndarray, observation: Observation) -> None:
        """Check the output's shape, because a guard would silently treat requests of a wrong shape as no requests.

        Raises:
            CityloopError: if there is not one row per agent, or a row has too few columns.
        """
        agents = len(observation[next(iter(self.card.observation))])
        mask = observation.get("action_mask")
        choices = None if self.card.bounds is not None or mask is None else mask.shape[-1]
        least = choices or (1 if self.card.bounds is None else len(self._low))
        rows, columns = logits.shape if logits.ndim == 2 else (0, 0)
        if rows != agents or columns < least or (choices and columns > least):
            shape = f"({agents}, {least}{'' if choices else ' or more'}), a row an agent"
            found = f"policy {self.name!r} gives {OUTPUT} of shape {logits.shape}"
            raise CityloopError(f"{found}: export it to give {shape}")

    def act(self, readings: Readings, observation: Observation) -> Requests:
        """The most probable action of every agent, after coordination of conflicting requests (`at`).

        Returns:
            Int64 ``(N,)``, or float64 ``(N, k)`` for k continuous actions in their own units: the model's means are
            scaled from -1 … 1 to the bounds, as in `training.actions`.

        Raises:
            CityloopError: as for `logits`.
        """
        outputs = self.logits(observation)
        if self._coordination is not None:
            return self._coordination.settle(outputs, readings)
        if self.card.bounds is None:
            best: np.ndarray = outputs.argmax(axis=1)
            return best
        low, high = self._low, self._high
        return np.asarray(low + (outputs[:, : len(low)].clip(-1.0, 1.0) + 1.0) * (high - low) / 2)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason, run = error.strerror or type(error).__name__, path.parent
        mend = f"give a bundle with {MODEL} and {CARD}"
        if (run / "checkpoints").is_dir():
            mend = f"it is a training's run, so make a bundle of it, 'cityloop export {run}', and give that"
        raise CityloopError(f"{path} cannot be read ({reason}): {mend}") from None


def _read_model(file: Path) -> bytes:
    """Content of the model's file, after a check of its size."""
    if file.is_file():
        check_size(file, file.stat().st_size)
    return _read(file)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _check_sum(file: Path, content: bytes, wanted: str, mend: str) -> None:
    digest = _sha256(content)
    if digest != wanted:
        raise CityloopError(
            f"{file} was altered (SHA-256 {digest[:12]}…, the card says {wanted[:12]}…): {mend}, or restore the file"
        )


def _read_envelope(path: Path, card: PolicyCard) -> Envelope | None:
    if not card.envelope_sha256:
        return None
    content = _read(path / ENVELOPE)
    _check_sum(path / ENVELOPE, content, card.envelope_sha256, "calibrate the policy again")
    return read_envelope(content, path / ENVELOPE)


def read_card(path: Path) -> PolicyCard:
    """Read the card of a bundle, without verifying the other files.

    Raises:
        CityloopError: if the card cannot be read, or a field does not fit.
    """
    try:
        return PolicyCard.model_validate_json(_read(path / CARD))
    except ValidationError as error:
        raise CityloopError(f"{path / CARD}: {first_problem(error)}") from None


def _check_fit(path: Path, card: PolicyCard, system: str | None) -> None:
    if not 1 <= card.format <= FORMAT:
        raise CityloopError(
            f"bundle {path} has format {card.format}, only 1 to {FORMAT} can be read: export the policy again"
        )
    if system is not None and card.system != system:
        raise CityloopError(
            f"bundle {path} is for system {card.system!r}, not {system!r}: choose a bundle for {system!r}"
        )
    here = {column["name"]: column for column in get_system(card.system).readings.describe()}
    there = {str(column.get("name")): column for column in card.readings}
    for name in [*here, *there]:
        if here.get(name) != there.get(name):
            state = "lacks" if name not in there else "has an unknown" if name not in here else "has another"
            raise CityloopError(
                f"bundle {path} {state} readings column {name!r}: train and export it with this version"
            )
    if list(here) != list(there):
        raise CityloopError(f"bundle {path} has its readings columns in another order: export it with this version")


def _session(path: Path, model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # One tick is a tiny batch: threads and spinning would cost more than they bring, in time and in the tail.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common base of their own
        raise CityloopError(f"{path / MODEL} cannot be run ({first_line(error)}): export it again") from None


def _check_inputs(path: Path, card: PolicyCard, session: onnxruntime.InferenceSession) -> None:
    inputs = {node.name: node for node in session.get_inputs()}
    if set(inputs) != set(card.observation):
        raise CityloopError(
            f"{path / MODEL} has inputs {sorted(inputs)}, the card says {sorted(card.observation)}: export it again"
        )
    for name, shape in card.observation.items():
        found = [size if isinstance(size, int) else None for size in inputs[name].shape]
        if found != [None, *shape] or inputs[name].type != "tensor(float)":
            kinds = f"{inputs[name].type} {found}, the card says tensor(float) {[None, *shape]}"
            raise CityloopError(f"{path / MODEL} takes {name!r} as {kinds}: export it again")
    outputs = {node.name: node for node in session.get_outputs()}
    if OUTPUT not in outputs:
        raise CityloopError(f"{path / MODEL} has outputs {list(outputs)}, none named {OUTPUT!r}: export it again")
    if outputs[OUTPUT].type not in FLOATING:
        kind = outputs[OUTPUT].type
        raise CityloopError(f"{path / MODEL} gives {OUTPUT!r} as {kind}: export it to give floating numbers")
