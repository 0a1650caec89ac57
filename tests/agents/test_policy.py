"""Bundles: loading gives what was written, and refuses everything else."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from pydantic import ValidationError

from agents import load_policy, make_controller
from agents.card import Bounds, PolicyCard
from agents.policy import Policy, add_results, write_bundle
from envs import CityloopError, get_system, load_scenario
from envs.core.world import Controller
from tests.serving.bundles import PARTS, bundle, card, model


def observation(agents: int = 3, stages: int = 4, lanes: int = 5, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    padded = {"approaches": (lanes,), "stages": (stages,), "serves": (stages, lanes), "action_mask": (stages,)}
    parts = {}
    for name, shape in PARTS.items():
        free = iter(padded.get(name, ()))
        size = [next(free) if n is None else n for n in shape]
        parts[name] = rng.random((agents, *size), dtype=np.float32)
    parts["action_mask"] = (parts["action_mask"] > 0.5).astype(np.float32)
    parts["action_mask"][:, 0] = 1.0
    return parts


def refusal(path: Path, system: str | None = None) -> str:
    with pytest.raises(CityloopError) as error:
        Policy.load(path, system)
    sentence = str(error.value)
    assert "\n" not in sentence
    assert len(sentence) < 400
    return sentence


def test_what_is_written_is_loaded(tmp_path: Path) -> None:
    path = bundle(tmp_path / "deep" / "tiny")
    policy = load_policy(path, "intersections")
    assert isinstance(policy, Controller)
    assert (policy.name, policy.program) == ("tiny", None)
    assert sorted(p.name for p in path.iterdir()) == ["CARD.md", "policy.json", "policy.onnx"]
    assert [p.name for p in path.parent.iterdir()] == ["tiny"]  # nothing is left over
    text = (path / "CARD.md").read_text()
    assert "cityloop train intersections/grid2x2" in text
    assert f"any × {PARTS['approaches'][-1]}" in text


@pytest.mark.parametrize(("agents", "stages", "lanes"), [(1, 2, 1), (3, 4, 5), (21, 8, 20)])
def test_decisions_fit_any_size_and_keep_to_the_mask(tmp_path: Path, agents: int, stages: int, lanes: int) -> None:
    policy = Policy.load(bundle(tmp_path / "tiny"))
    parts = observation(agents, stages, lanes)
    logits, actions = policy.logits(parts), policy.act({}, parts)
    assert logits.shape == (agents, stages)
    assert actions.dtype == np.int64
    assert (actions == logits.argmax(axis=1)).all()
    assert (parts["action_mask"][np.arange(agents), actions] == 1).all()
    assert (policy.act({}, parts) == actions).all()


def test_policies_of_one_model_share_it(tmp_path: Path) -> None:
    first, again = Policy.load(bundle(tmp_path / "one")), Policy.load(bundle(tmp_path / "other"))
    assert first._session is again._session
    assert (first.logits(observation()) == again.logits(observation())).all()


def test_decides_at_a_real_site(tmp_path: Path) -> None:
    system = get_system("intersections")
    site = system.load_site(load_scenario("intersections/grid2x2"))
    readings = {c.name: np.zeros(len(site.axes[c.axis])) for c in system.readings.columns}
    mask = system.make_guard(site).mask(readings)
    actions = Policy.load(bundle(tmp_path / "tiny")).act(readings, system.make_features(site).encode(readings, mask))
    assert mask[np.arange(len(site.agents)), actions].all()


def test_a_bundle_is_replaced_but_nothing_else_is(tmp_path: Path) -> None:
    path = bundle(tmp_path / "tiny")
    (path / "storeys.json").write_text("a monitor")
    bundle(path, name="newer")
    assert Policy.load(path).name == "newer"
    assert (path / "storeys.json").read_text() == "a monitor", "which is the building's, not the policy's"
    (path / "diary.txt").write_text("mine")
    with pytest.raises(CityloopError, match="not a policy bundle"):
        bundle(path)
    assert (path / "diary.txt").read_text() == "mine"
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CityloopError, match="not a policy bundle"):
        bundle(tmp_path / "file")


def test_a_bundle_that_cannot_be_replaced_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = bundle(tmp_path / "tiny")
    before = {file.name: file.read_bytes() for file in path.iterdir()}

    def fails(one: Path, other: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("envs.core.machine.files.exchange", fails)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)) as raised:
        bundle(path, name="other")
    assert raised.value.filename == str(path)
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_card_knows_no_other_keys() -> None:
    with pytest.raises(ValidationError):
        card(colour="red")
    assert PolicyCard.model_validate_json(card().model_dump_json()) == card()


@pytest.mark.parametrize("name", ["policy.onnx", "policy.json"])
def test_a_missing_file_is_refused(tmp_path: Path, name: str) -> None:
    path = bundle(tmp_path / "tiny")
    (path / name).unlink()
    assert name in refusal(path)
    assert "cannot be read" in refusal(tmp_path / "nowhere")


def test_who_gives_a_run_is_told_to_export_it(tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    assert f"'cityloop export {tmp_path / 'run'}'" in refusal(tmp_path / "run")


def test_an_altered_model_is_refused(tmp_path: Path) -> None:
    path = bundle(tmp_path / "tiny")
    content = bytearray((path / "policy.onnx").read_bytes())
    content[-1] ^= 1
    (path / "policy.onnx").write_bytes(content)
    assert "altered" in refusal(path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', "\xff", '{"format": "x"}'])
def test_a_broken_card_is_refused(tmp_path: Path, text: str) -> None:
    path = bundle(tmp_path / "tiny")
    (path / "policy.json").write_bytes(text.encode("latin-1"))
    assert "policy.json" in refusal(path)


def test_another_format_system_or_schema_is_refused(tmp_path: Path) -> None:
    path = bundle(tmp_path / "tiny")
    assert "for system 'intersections', not 'drainage'" in refusal(path, "drainage")
    assert "format 4" in refusal(bundle(tmp_path / "format", format=4))
    for older in (1, 2):
        assert Policy.load(bundle(tmp_path / f"older{older}", format=older)).card.proven == {}
    assert "system 'tides'" in refusal(bundle(tmp_path / "system", system="tides"))
    columns = get_system("intersections").readings.describe()
    assert "lacks readings column 'red_s'" in refusal(bundle(tmp_path / "less", readings=columns[:-1]))
    other = [*columns[:-1], columns[-1] | {"high": 5}]
    assert "another readings column 'red_s'" in refusal(bundle(tmp_path / "other", readings=other))
    more = [*columns, columns[-1] | {"name": "blue_s"}]
    assert "unknown readings column 'blue_s'" in refusal(bundle(tmp_path / "more", readings=more))
    assert "order" in refusal(bundle(tmp_path / "order", readings=columns[::-1]))


def test_operators_of_others_are_refused(tmp_path: Path) -> None:
    assert "domain 'com.microsoft'" in refusal(bundle(tmp_path / "custom", model(domain="com.microsoft")))


@pytest.mark.parametrize("domain", ["mine", "", "ai.onnx"])
def test_operators_that_a_model_defines_are_refused(tmp_path: Path, domain: str) -> None:
    """A loop may stand in them."""
    proto = model()
    proto.functions.append(helper.make_function(domain, "f", [], [], [], [helper.make_opsetid("", 17)]))
    assert "defines operator 'f' itself" in refusal(bundle(tmp_path / "function", proto))


def test_operators_of_others_are_found_within_branches(tmp_path: Path) -> None:
    inner = onnx.helper.make_graph([onnx.helper.make_node("Odd", [], ["x"], domain="mine")], "inner", [], [])
    proto = model()
    proto.graph.node.append(onnx.helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner))
    assert "operator 'Odd'" in refusal(bundle(tmp_path / "tiny", proto))


def test_data_in_other_files_is_refused(tmp_path: Path) -> None:
    proto = model()
    tensor = proto.graph.initializer[3]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    assert "in another file" in refusal(bundle(tmp_path / "tiny", proto))


def test_a_model_that_is_none_or_does_not_fit_its_card_is_refused(tmp_path: Path) -> None:
    write_bundle(tmp_path / "none", b"not a model", card())
    assert "not an ONNX model" in refusal(tmp_path / "none")
    broken = model()
    broken.graph.node[0].op_type = "NoSuchOperator"
    assert "cannot be run" in refusal(bundle(tmp_path / "broken", broken))
    assert "none named 'logits'" in refusal(bundle(tmp_path / "output", model(output="scores")))
    fewer = {name: shape for name, shape in PARTS.items() if name != "serves"}
    assert "has inputs" in refusal(bundle(tmp_path / "inputs", observation=fewer))
    wider = PARTS | {"stages": (None, 99)}
    assert "takes 'stages'" in refusal(bundle(tmp_path / "shape", observation=wider))


def test_a_bundle_is_not_written_over_other_files(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    for folder, words in {tmp_path: "is not a policy bundle", Path("/dev/null/new"): "cannot be made"}.items():
        with pytest.raises(CityloopError, match=words):
            write_bundle(folder, b"a model", card())
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_bundle_may_be_written_anew_from_within(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bundle(tmp_path / "tiny"))
    add_results(Path(), {"here": {"mean": 1.0}})
    assert Policy.load(tmp_path / "tiny").card.evaluation == {"here": {"mean": 1.0}}


def test_an_observation_that_does_not_fit_is_one_sentence(tmp_path: Path) -> None:
    policy = Policy.load(bundle(tmp_path / "tiny"))
    parts = observation()
    with pytest.raises(CityloopError, match="needs observation part 'serves'"):
        policy.act({}, {name: part for name, part in parts.items() if name != "serves"})
    with pytest.raises(CityloopError, match="does not fit"):
        policy.act({}, parts | {"stages": parts["stages"][..., :3]})
    with pytest.raises(CityloopError, match="NaN"):
        policy.act({}, parts | {"stages": parts["stages"] * np.nan})


def test_loading_needs_neither_torch_nor_ray(tmp_path: Path) -> None:
    path = bundle(tmp_path / "tiny")
    loaded = f"import sys; from agents import load_policy; load_policy({str(path)!r})"
    code = f"{loaded}; print({{'torch', 'ray'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_models_without_bounds_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops, and tensors that a few bytes make huge: what a deadline alone would not save."""
    looping = model()
    body = onnx.helper.make_graph([], "body", [], [])
    looping.graph.node.append(onnx.helper.make_node("Loop", ["", ""], ["x"], body=body))
    assert "may run for ever" in refusal(bundle(tmp_path / "loop", looping))
    huge = model()
    huge.graph.initializer.append(onnx.helper.make_tensor("shape", onnx.TensorProto.INT64, [2], [1 << 15, 1 << 15]))
    huge.graph.node.insert(0, onnx.helper.make_node("ConstantOfShape", ["shape"], ["much"]))
    assert "too many" in refusal(bundle(tmp_path / "huge", huge))
    monkeypatch.setattr("agents.plain_onnx.MAX_NODES", 3)
    assert "operators, 3 at most" in refusal(bundle(tmp_path / "many"))
    monkeypatch.setattr("agents.plain_onnx.MAX_BYTES", 100)
    assert "bytes, a model 100 at most" in refusal(bundle(tmp_path / "large"))


def sized(branch: bool, of: str, operator: str) -> onnx.ModelProto:
    """The tiny model with a tensor whose size is computed from a part's values or shape (``of``)."""
    proto = model()
    begin = [helper.make_node("ReduceMax", ["junction"], ["most"], keepdims=0)] if of == "values" else []
    begin.append(helper.make_node(*(("Shape", ["junction"]) if of == "shape" else ("Identity", ["most"])), ["found"]))
    begin += [
        helper.make_node("Cast", ["found"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["whole", "flat"], ["listed"]),
        helper.make_node("ReduceMax", ["listed"], ["size"], keepdims=1),
    ]
    grown = {
        "Range": [
            helper.make_node("ReduceMax", ["size"], ["n"], keepdims=0),
            helper.make_node("Range", ["zero", "n", "one"], ["much"]),
        ],
        "Expand": [helper.make_node("Expand", ["half", "size"], ["much"])],
        "Tile": [helper.make_node("Tile", ["axis1", "size"], ["much"])],
        "ConstantOfShape": [helper.make_node("ConstantOfShape", ["size"], ["much"])],
    }[operator]
    if branch:
        bodies = [helper.make_graph(grown, name, [], []) for name in ("yes", "no")]
        grown = [helper.make_node("If", ["sure"], ["any"], then_branch=bodies[0], else_branch=bodies[1])]
        for body in bodies:
            body.output.append(helper.make_tensor_value_info("much", TensorProto.INT64, ["n"]))
    for node in reversed([*begin, *grown]):
        proto.graph.node.insert(0, node)
    for name, kind, dims, values in (
        ("flat", TensorProto.INT64, [1], [-1]),
        ("zero", TensorProto.INT64, [], [0]),
        ("one", TensorProto.INT64, [], [1]),
        ("sure", TensorProto.BOOL, [], [True]),
    ):
        proto.graph.initializer.append(helper.make_tensor(name, kind, dims, values))
    return proto


@pytest.mark.parametrize("operator", ["Range", "Expand", "Tile", "ConstantOfShape"])
def test_sizes_depend_on_shapes_and_never_on_readings(tmp_path: Path, operator: str) -> None:
    """A policy is tried on an idle plant: a reading must not make a tick larger."""
    for branch in (False, True):
        proto = sized(branch, "values", operator)
        assert f"as large as the readings say ({operator})" in refusal(bundle(tmp_path / f"values{branch}", proto))
    path = bundle(tmp_path / "shape", sized(False, "shape", operator))
    assert Policy.load(path).act({}, observation()).shape == (3,)


def shaped(kind: int = TensorProto.FLOAT, axes: list[int] | None = None, drop: bool = False) -> onnx.ModelProto:
    """The tiny model whose output has another type, axes more, or one row alone."""
    proto = model(output="scores")
    graph = proto.graph
    node = helper.make_node("Cast", ["scores"], ["cast"], to=kind)
    if axes:
        graph.initializer.append(helper.make_tensor("axes", TensorProto.INT64, [len(axes)], axes))
        node = helper.make_node("Unsqueeze", ["scores", "axes"], ["cast"])
    if drop:
        node = helper.make_node("ReduceMean", ["scores"], ["cast"], axes=[0])
    graph.node.extend([node, helper.make_node("Identity", ["cast"], ["logits"])])
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("logits", kind, None))
    return proto


@pytest.mark.parametrize(
    ("changes", "found"), [({"axes": [1]}, r"\(3, 1, 4\)"), ({"drop": True}, r"\(1, 4\)")], ids=["axis", "joint"]
)
def test_who_gives_no_row_an_agent_does_not_decide(tmp_path: Path, changes: dict[str, Any], found: str) -> None:
    """A guard takes it for no request at all, and its own choices would stand on the policy's card."""
    policy = Policy.load(bundle(tmp_path / "tiny", shaped(**changes)))
    with pytest.raises(CityloopError, match=rf"of shape {found}: export it to give \(3, 4\), a row an agent"):
        policy.act({}, observation())


def test_an_output_is_of_floating_numbers(tmp_path: Path) -> None:
    assert "give floating numbers" in refusal(bundle(tmp_path / "text", shaped(TensorProto.STRING)))
    assert Policy.load(bundle(tmp_path / "double", shaped(TensorProto.DOUBLE))).act({}, observation()).shape == (3,)


def test_numbers_need_bounds_and_a_column_each(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="give one number above each of low"):
        Bounds(low=(0.0, 0.0), high=(1.0,))
    site = get_system("intersections").load_site(load_scenario("intersections/grid2x2"))
    path = bundle(tmp_path / "numbers", bounds=Bounds(low=(0.0,), high=(1.0,)))
    with pytest.raises(CityloopError, match=r"has bounds of 1 numbers and an agent's actions are Discrete\(2\)"):
        make_controller(str(path), site)
    five = Bounds(low=(0.0,) * 5, high=(1.0,) * 5)
    policy = Policy.load(bundle(tmp_path / "narrow", bounds=five))
    with pytest.raises(CityloopError, match=r"of shape \(3, 4\): export it to give \(3, 5 or more\)"):
        policy.act({}, observation())


@pytest.mark.parametrize("edge", [np.inf, -np.inf, np.nan])
def test_a_network_that_overflows_commands_nothing(tmp_path: Path, edge: float) -> None:
    """Clipped to the bounds, it would be full travel."""
    proto = model(output="scores")
    proto.graph.initializer.append(helper.make_tensor("edge", TensorProto.FLOAT, [1], [edge]))
    proto.graph.node.append(helper.make_node("Add", ["scores", "edge"], ["logits"]))
    proto.graph.output[0].name = "logits"
    policy = Policy.load(bundle(tmp_path / "numbers", proto, bounds=Bounds(low=(0.0,) * 4, high=(1.0,) * 4)))
    with pytest.raises(CityloopError, match="gave NaN" if np.isnan(edge) else "gave a number that is infinite"):
        policy.act({}, observation())
