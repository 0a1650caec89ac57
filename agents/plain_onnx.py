"""Safety checks of ONNX models: standard operators only, no data in other files, and bounded size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from envs.core.errors import CityloopError

STANDARD_DOMAINS = ("", "ai.onnx")
"""The ONNX standard's own operator sets."""

MAX_BYTES, MAX_NODES, MAX_ELEMENTS = 64 << 20, 20_000, 1 << 24
"""Limits of a file's bytes, of operators, and of a tensor's elements if its shape is known in advance."""

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
    for graph in _graphs(proto.graph):
        tensors = [*graph.initializer, *(a.t for node in graph.node for a in node.attribute if a.HasField("t"))]
        for tensor in tensors:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                raise CityloopError(f"{file} keeps {tensor.name!r} in another file: export it as one file")
    functions = [(function.domain, function.name) for function in proto.functions]
    nodes = [(node.domain, node.op_type) for graph in _graphs(proto.graph) for node in graph.node]
    for domain, name in functions + nodes:
        if domain not in STANDARD_DOMAINS:
            raise CityloopError(
                f"{file} uses operator {name!r} of domain {domain!r}: export it with standard operators only"
            )
        if name in UNBOUNDED:
            raise CityloopError(f"{file} uses operator {name!r}, which may run for ever: export it without loops")
    if len(nodes) > MAX_NODES:
        raise CityloopError(f"{file} has {len(nodes)} operators, {MAX_NODES} at most: export a smaller network")
    _check_shapes(file, proto)


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
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _graphs(inner)


def first_line(error: Exception) -> str:
    """First line of an error's message, or its class if the message is empty."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
