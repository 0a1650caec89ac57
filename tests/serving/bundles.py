"""Tiny bundles, made with onnx alone."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from agents.card import PolicyCard, Training
from agents.policy import write_bundle
from envs import get_system
from envs.intersections.features import APPROACH_FEATURES, JUNCTION_FEATURES, STAGE_FEATURES

PARTS: dict[str, tuple[int | None, ...]] = {
    "approaches": (None, len(APPROACH_FEATURES)),
    "stages": (None, len(STAGE_FEATURES)),
    "serves": (None, 2, None),
    "junction": (len(JUNCTION_FEATURES),),
    "action_mask": (None,),
}


def card(**changes: Any) -> PolicyCard:
    content: dict[str, Any] = {
        "system": "intersections",
        "name": "tiny",
        "observation": PARTS,
        "readings": get_system("intersections").readings.describe(),
        "training": Training(
            scenarios={"intersections/grid2x2": "0" * 16},
            seeds="100000 to 100003",
            decisions=1000,
            algorithm="none",
            command="cityloop train intersections/grid2x2",
        ),
        "versions": {"onnx": onnx.__version__},
        "created": date(2026, 1, 1),
    }
    return PolicyCard(**(content | changes))


def model(
    domain: str = "", output: str = "logits", parts: dict[str, tuple[int | None, ...]] | None = None
) -> onnx.ModelProto:
    """Prefers stages by their count of served, queueing vehicles; every input is used."""
    inputs = [
        helper.make_tensor_value_info(
            name, TensorProto.FLOAT, ["agents", *(s or f"{name}{k}" for k, s in enumerate(shape))]
        )
        for name, shape in (parts or PARTS).items()
    ]
    nodes = [
        helper.make_node("ReduceSum", ["serves", "axes23"], ["served"], keepdims=0),
        helper.make_node("ReduceSum", ["stages", "axis2"], ["staged"], keepdims=0),
        helper.make_node("ReduceSum", ["approaches", "axes12"], ["busy"], keepdims=1),
        helper.make_node("ReduceSum", ["busy", "axis2"], ["busy2"], keepdims=0),
        helper.make_node("Add", ["served", "staged"], ["a"], domain=domain),
        helper.make_node("Add", ["a", "busy2"], ["busier"]),
        helper.make_node("ReduceSum", ["junction", "axis1"], ["timing"], keepdims=1),
        helper.make_node("Add", ["busier", "timing"], ["b"]),
        helper.make_node("Greater", ["action_mask", "half"], ["allowed"]),
        helper.make_node("Where", ["allowed", "b", "never"], [output]),
    ]
    constants = [
        helper.make_tensor("axes23", TensorProto.INT64, [2], [2, 3]),
        helper.make_tensor("axis2", TensorProto.INT64, [1], [-1]),
        helper.make_tensor("axis1", TensorProto.INT64, [1], [1]),
        helper.make_tensor("axes12", TensorProto.INT64, [1], [1]),
        helper.make_tensor("half", TensorProto.FLOAT, [], [0.5]),
        helper.make_tensor("never", TensorProto.FLOAT, [], [-1e9]),
    ]
    out = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["agents", "actions"])
    graph = helper.make_graph(nodes, "tiny", inputs, [out], constants)
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def bundle(folder: Path, proto: onnx.ModelProto | None = None, **changes: Any) -> Path:
    write_bundle(folder, (proto or model()).SerializeToString(), card(**changes))
    return folder
