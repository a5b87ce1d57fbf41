"""A recognizer as JSON that the page's JavaScript computes: layers, weights, decision rule.

`static/network.js` reads it. The networks are taken from an exported ONNX file, so that there is
one way from a recognizer to what a browser computes, and none of it needs PyTorch.
"""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import RecognizerError
from tenfold.onnx_graph import Graph, Node, read_graph
from tenfold.onnx_recognizer import FORMAT, INPUT, METADATA_KEY, OUTPUT

MIN_FLOAT16_SIZE: Final = 64  # smaller arrays, such as biases, stay float32
CARD_FIELDS: Final = ("recipe", "validation", "test")  # that the page may show


class UnsupportedError(RecognizerError):
    """A network has an operation that the page does not compute."""


@dataclass(frozen=True)
class _Reader:
    """What translates one graph."""

    graph: Graph

    def members(self) -> tuple[float, list[dict[str, Any]]]:
        """Return the temperature and the members."""
        node = self._expect(OUTPUT, "Softmax")
        temperature = 1.0
        if self._node(node.inputs[0]).operator == "Div":
            division = self._node(node.inputs[0])
            temperature = float(self.constant(division.inputs[1]))
            node = division
        log = self._expect(node.inputs[0], "Log")
        mean = self._expect(self._expect(log.inputs[0], "Clip").inputs[0], "ReduceMean")
        stack = self._node(mean.inputs[0])
        names = stack.inputs if stack.operator == "Concat" else (mean.inputs[0],)
        return temperature, [self._member(self._expect(name, "Unsqueeze")) for name in names]

    def constant(self, name: str) -> NDArray[Any]:
        """Return a constant, or what casts, copies and divisions make of constants."""
        if name in self.graph.constants:
            return self.graph.constants[name]
        node = self._node(name)
        if node.operator == "Cast" and node.attributes["to"] == 1:
            return self.constant(node.inputs[0]).astype(np.float32)
        if node.operator == "Expand":  # along the images, of which all have the same
            return self.constant(node.inputs[0])
        if node.operator == "Div":
            quotient: NDArray[Any] = self.constant(node.inputs[0]) / self.constant(node.inputs[1])
            return quotient
        raise UnsupportedError(f"{node.operator} of what is no constant")

    def _node(self, name: str) -> Node:
        if name not in self.graph.nodes:
            raise UnsupportedError("a graph of another shape")
        return self.graph.nodes[name]

    def _expect(self, name: str, operator: str) -> Node:
        node = self._node(name)
        if node.operator != operator:
            raise UnsupportedError(f"{node.operator} where {operator} was expected")
        return node

    def _member(self, unsqueeze: Node) -> dict[str, Any]:
        """Return a member: how its images are sampled and scaled, and its layers."""
        softmax = self._expect(unsqueeze.inputs[0], "Softmax")
        nodes = list(self._path(softmax.inputs[0]))[::-1]
        member: dict[str, Any] = {"sampling": None, "mean": 0.0, "std": 1.0, "layers": []}
        for node in nodes:
            if node.operator in {"Unsqueeze", "Cast", "Reshape", "Flatten"}:
                continue
            if node.operator == "GridSample":
                member["sampling"] = self._sampling(node)
            elif node.operator == "Sub":
                member["mean"] = float(self.constant(node.inputs[1]))
            elif node.operator == "Div":
                if node.inputs[0] != nodes[1].output:  # that one divides bytes by 255
                    member["std"] = float(self.constant(node.inputs[1]))
            elif node.operator == "Relu" and member["layers"][-1]["kind"] == "convolution":
                member["layers"][-1]["relu"] = True
            else:
                member["layers"].append(self._layer(node))
        return member

    def _path(self, name: str) -> Iterator[Node]:
        """Yield the nodes from `name` back to the images."""
        while name != INPUT:
            node = self._node(name)
            yield node
            name = node.inputs[0]

    def _layer(self, node: Node) -> dict[str, Any]:
        get = node.attributes.get
        if node.operator == "Conv" and get("group") == 1 and get("dilations") == (1, 1):
            (stride, _), (padding, *_) = _same(get("strides")), _same(get("pads"))
            layer = {"kind": "convolution", "stride": stride, "padding": padding, "relu": False}
        elif node.operator == "Gemm" and get("transB") == 1 and not get("transA"):
            layer = {"kind": "dense"}
        elif node.operator == "MaxPool" and not any(_same(get("pads", (0, 0)))):
            if _same(get("strides")) != _same(get("kernel_shape")):
                raise UnsupportedError("overlapping pooling")
            return {"kind": "max_pool", "size": _same(get("strides"))[0]}
        elif node.operator == "ReduceMax":
            return {"kind": "global_max"}
        else:
            raise UnsupportedError(node.operator)
        weights = self.constant(node.inputs[1])
        has_bias = len(node.inputs) > 2
        bias = self.constant(node.inputs[2]) if has_bias else np.zeros(len(weights), np.float32)
        return layer | {
            "shape": list(weights.shape),
            "weights": _encode(weights),
            "bias": _encode(bias),
        }

    def _sampling(self, node: Node) -> dict[str, list[float]]:
        """Return the positions at which rows and columns are read, in pixels of the image."""
        grid = self.constant(node.inputs[1])[0]  # [H, W, 2] from -1 to 1, x first
        columns, rows = grid[0, :, 0], grid[:, 0, 1]
        straight = np.allclose(grid[..., 0], columns) and np.allclose(grid[..., 1], rows[:, None])
        if not straight or node.attributes["mode"] not in {"bilinear", "linear"}:
            raise UnsupportedError("sampling that is not along rows and columns")
        return {"rows": rows.tolist(), "columns": columns.tolist()}


def _same(values: Any) -> tuple[int, ...]:
    """Return values that must all be equal: kernels, strides and padding are square."""
    if not isinstance(values, tuple) or len(set(values)) != 1:
        raise UnsupportedError(f"a kernel that is not square: {values}")
    return values


def _encode(array: NDArray[Any]) -> dict[str, str]:
    dtype = "float16" if array.size >= MIN_FLOAT16_SIZE else "float32"
    data = np.ascontiguousarray(array.astype(f"<{np.dtype(dtype).str[1:]}")).tobytes()
    return {"dtype": dtype, "base64": base64.b64encode(data).decode("ascii")}


def browser_network(content: bytes, name: str) -> dict[str, Any]:
    """Return JSON values from which `static/network.js` computes what an ONNX file does.

    Args:
        content: of a file that `tenfold export` wrote.
        name: of the model, for messages.

    Returns:
        `classes`; `image_size`; `temperature`; `sure_threshold` and `digit_threshold`; `members`,
        of which each has `sampling`, `mean`, `std` and `layers`. Arrays are base64, little endian.

    Raises:
        RecognizerError: the file is damaged, of another program, or its network has an operation
            that the page does not compute.
    """
    try:
        graph = read_graph(content)
        metadata = json.loads(graph.metadata[METADATA_KEY])
        if metadata["format"] != FORMAT:
            raise RecognizerError(f"format {metadata['format']!r}, expected {FORMAT!r}")
        temperature, members = _Reader(graph).members()
    except UnsupportedError as error:
        raise RecognizerError(
            f"{name}: its network has {error}, which the page does not compute; expected networks "
            "of the families compact and pocket, without deskew, bounding box or test-time views"
        ) from error
    except (RecognizerError, KeyError, ValueError) as error:
        raise RecognizerError(
            f"{name}: cannot be read ({error}), expected a file that `tenfold export` wrote"
        ) from error
    rule = metadata["decision_rule"]
    return {
        "classes": metadata["classes"],
        "image_size": metadata["image_size"],
        "temperature": temperature,
        "sure_threshold": rule.get("sure_threshold", 0.9),
        "digit_threshold": rule.get("digit_threshold", 0.7),
        "members": members,
    }
