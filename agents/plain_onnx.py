"""Whether an ONNX model is plain: operators of the standard alone, and no data in other files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from envs.core.errors import CityloopError

STANDARD_DOMAINS = ("", "ai.onnx")
"""The ONNX standard's own operator sets."""


def check_plain(file: Path, model: bytes) -> None:
    """Refuse a model that is not plain.

    Args:
        file: where it lies, for the error.
        model: its content.

    Raises:
        CityloopError: naming the first thing in it that comes from elsewhere.
    """
    import onnx

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


def _graphs(graph: Any) -> Iterator[Any]:
    """A graph and all graphs within it."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _graphs(inner)


def first_line(error: Exception) -> str:
    """An error's first line, or its class if it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
