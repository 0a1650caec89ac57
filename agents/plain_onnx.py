"""Safety checks of ONNX models: standard operators only, no data in other files, bounded size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from envs.core.errors import CityloopError, first_line

STANDARD_DOMAINS = ("", "ai.onnx")
"""The ONNX standard's own operator sets."""

MAX_BYTES, MAX_NODES, MAX_ELEMENTS = 64 << 20, 20_000, 1 << 24
"""Limits of a file's bytes, of operators, and of a tensor's elements if its shape is known in advance."""

SIZED = {
    "AffineGrid": (1,),
    "BlackmanWindow": (0,),
    "CenterCropPad": (1,),
    "Col2Im": (1, 2),
    "ConstantOfShape": (0,),
    "DFT": (1,),
    "Expand": (1,),
    "HammingWindow": (0,),
    "HannWindow": (0,),
    "MaxUnpool": (2,),
    "MelWeightMatrix": (0, 1),
    "OneHot": (1,),
    "Pad": (1,),
    "Range": (0, 1, 2),
    "Resize": (1, 2, 3),
    "STFT": (1, 3),
    "Tile": (1,),
    "Upsample": (1,),
}
"""Operator → its inputs whose values determine how large its output is."""

SHAPES = ("Shape", "Size")
"""Operators whose output depends on the shape of their input alone."""

UNBOUNDED = ("Loop", "Scan")
"""Operators that may run for ever; no policy needs them."""


def check_size(file: Path, size: int) -> None:
    """Check the size of a model's file before it is read.

    Raises:
        CityloopError: if the file is too large.
    """
    if size > MAX_BYTES:
        raise CityloopError(f"{file} has {size} bytes, a model {MAX_BYTES} at most: export a smaller network")


def check_plain(file: Path, model: bytes) -> None:
    """Check that a model is plain.

    Args:
        file: path of the model, for the error message.
        model: its content.

    Raises:
        CityloopError: for the first part that is not standard, refers to other files, or is too large.
    """
    import onnx

    check_size(file, len(model))
    try:
        proto = onnx.load_model_from_string(model)
    except Exception as error:  # protobuf's own error class depends on its implementation
        raise CityloopError(f"{file} is not an ONNX model ({first_line(error)}): export it again") from None
    if proto.functions:
        name = proto.functions[0].name
        raise CityloopError(f"{file} defines operator {name!r} itself: export it with standard operators only")
    for graph in _graphs(proto.graph):
        tensors = [*graph.initializer, *(a.t for node in graph.node for a in node.attribute if a.HasField("t"))]
        for tensor in tensors:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                raise CityloopError(f"{file} keeps {tensor.name!r} in another file: export it as one file")
    nodes = [(node.domain, node.op_type) for graph in _graphs(proto.graph) for node in graph.node]
    for domain, name in nodes:
        if domain not in STANDARD_DOMAINS:
            raise CityloopError(
                f"{file} uses operator {name!r} of domain {domain!r}: export it with standard operators only"
            )
        if name in UNBOUNDED:
            raise CityloopError(f"{file} uses operator {name!r}, which may run for ever: export it without loops")
    if len(nodes) > MAX_NODES:
        raise CityloopError(f"{file} has {len(nodes)} operators, {MAX_NODES} at most: export a smaller network")
    _check_shapes(file, proto)
    inputs = {value.name for value in proto.graph.input} - {tensor.name for tensor in proto.graph.initializer}
    _check_sizes(file, proto.graph, inputs)


def _check_sizes(file: Path, graph: Any, read: set[str]) -> None:
    """Refuse tensors whose size is determined by readings: a single tick could make them as large as the memory.

    Args:
        file: path of the model, for the error message.
        graph: the graph, whose nodes are in the order of computation.
        read: names of tensors whose values depend on readings; those of the graph are added.
    """
    for node in graph.node:
        for k in SIZED.get(node.op_type, ()):
            if k < len(node.input) and node.input[k] in read:
                raise CityloopError(
                    f"{file} makes {node.output[0]!r} as large as the readings say ({node.op_type}): "
                    "export a network whose sizes depend on shapes alone"
                )
        inner = list(_graphs_of(node))
        for each in inner:
            _check_sizes(file, each, read)
        if inner or (node.op_type not in SHAPES and not read.isdisjoint(node.input)):
            read.update(node.output)


def _check_shapes(file: Path, proto: Any) -> None:
    """Refuse tensors that would fill the memory, such as those that `Expand` or `Tile` make from a few constants."""
    import onnx

    try:
        known = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    except Exception as error:  # onnx's checkers raise errors of several kinds
        raise CityloopError(f"{file} has shapes that do not fit ({first_line(error)}): export it again") from None
    for graph in _graphs(known.graph):
        for value in (*graph.input, *graph.value_info, *graph.output):
            sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim if dim.HasField("dim_value")]
            if math.prod(max(size, 1) for size in sizes) > MAX_ELEMENTS:
                raise CityloopError(f"{file} makes {value.name!r} with {sizes} numbers, too many: export it again")


def _graphs(graph: Any) -> Iterator[Any]:
    """A graph and all graphs within it."""
    yield graph
    for node in graph.node:
        for inner in _graphs_of(node):
            yield from _graphs(inner)


def _graphs_of(node: Any) -> Iterator[Any]:
    """Graphs that are attributes of a node, such as the branches of an `If`."""
    for attribute in node.attribute:
        yield from (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs)
