"""Read the graph of an ONNX file without the package `onnx`, which only training needs.

An ONNX file is one protocol buffer, and what we need of it is small: the nodes, the constants and
the metadata. Fields are numbered as in https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import RecognizerError

_MODEL_GRAPH, _MODEL_METADATA = 7, 14
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_NODE_INPUT, _NODE_OUTPUT, _NODE_OPERATOR, _NODE_ATTRIBUTE = 1, 2, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_INT, _ATTRIBUTE_STRING, _ATTRIBUTE_INTS = 1, 3, 4, 8
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_RAW = 1, 2, 8, 9
_KEY, _VALUE = 1, 2
_DTYPES: Final = {1: "<f4", 6: "<i4", 7: "<i8", 10: "<f2", 11: "<f8"}

Attribute = int | str | tuple[int, ...]
Field = tuple[int, Any]  # its number, and an int or bytes


@dataclass(frozen=True)
class Node:
    """One operation.

    Attributes:
        operator: "Conv", "Relu", …
        inputs: names of what it takes.
        output: name of the first that it gives.
        attributes: those that are a number, a text, or a list of numbers.
    """

    operator: str
    inputs: tuple[str, ...]
    output: str
    attributes: dict[str, Attribute]


@dataclass(frozen=True, eq=False)
class Graph:
    """The graph of an ONNX file.

    Attributes:
        nodes: by the name of their output, in the order of computation.
        constants: by name.
        metadata: texts by name.
    """

    nodes: dict[str, Node]
    constants: dict[str, NDArray[Any]]
    metadata: dict[str, str]


def read_graph(content: bytes) -> Graph:
    """Read the content of an ONNX file.

    Raises:
        RecognizerError: it is damaged, or no ONNX file.
    """
    try:
        model = list(_fields(content))
        graph = [field for part in _all(model, _MODEL_GRAPH) for field in _fields(part)]
        nodes = [_node(part) for part in _all(graph, _GRAPH_NODE)]
        entries = [dict(_fields(part)) for part in _all(model, _MODEL_METADATA)]
        return Graph(
            nodes={node.output: node for node in nodes},
            constants=dict(_tensor(part) for part in _all(graph, _GRAPH_INITIALIZER)),
            metadata={entry[_KEY].decode(): entry[_VALUE].decode() for entry in entries},
        )
    except (IndexError, KeyError, TypeError, ValueError, AttributeError, struct.error) as error:
        raise RecognizerError(f"damaged or no ONNX file ({error!r})") from error


def _fields(content: bytes) -> Iterator[Field]:
    """Yield the fields of a message; see https://protobuf.dev/programming-guides/encoding."""
    position = 0
    while position < len(content):
        tag, position = _varint(content, position)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == 0:
            value, position = _varint(content, position)
            yield number, value
            continue
        if wire_type == 2:
            length, position = _varint(content, position)
        else:
            length = {1: 8, 5: 4}[wire_type]
        if position + length > len(content):
            raise ValueError("it ends within a field")
        yield number, content[position : position + length]
        position += length


def _varint(content: bytes, position: int) -> tuple[int, int]:
    """Return the number at `position`, seven bits a byte, and where it ends."""
    value = shift = 0
    while True:
        byte = content[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position


def _all(fields: list[Field], number: int) -> list[Any]:
    return [value for found, value in fields if found == number]


def _ints(fields: list[Field], number: int) -> tuple[int, ...]:
    """Return a repeated number, which a writer may have packed into one field."""
    values: list[int] = []
    for value in _all(fields, number):
        if isinstance(value, int):
            values.append(value)
            continue
        position = 0
        while position < len(value):
            each, position = _varint(value, position)
            values.append(each)
    return tuple(value - (1 << 64) if value >> 63 else value for value in values)


def _node(content: bytes) -> Node:
    fields = list(_fields(content))
    return Node(
        operator=_all(fields, _NODE_OPERATOR)[0].decode(),
        inputs=tuple(name.decode() for name in _all(fields, _NODE_INPUT)),
        output=_all(fields, _NODE_OUTPUT)[0].decode(),
        attributes=dict(_attribute(part) for part in _all(fields, _NODE_ATTRIBUTE)),
    )


def _attribute(content: bytes) -> tuple[str, Attribute]:
    fields = list(_fields(content))
    name: str = _all(fields, _ATTRIBUTE_NAME)[0].decode()
    if ints := _ints(fields, _ATTRIBUTE_INTS):
        return name, ints
    if texts := _all(fields, _ATTRIBUTE_STRING):
        return name, texts[0].decode()
    return name, next(iter(_ints(fields, _ATTRIBUTE_INT)), 0)


def _tensor(content: bytes) -> tuple[str, NDArray[Any]]:
    """Return the name and the values of a constant.

    PyTorch and the package `onnx` write values as raw bytes; other writers may list them.
    """
    fields = list(_fields(content))
    dtype = _DTYPES[_all(fields, _TENSOR_TYPE)[0]]
    values = np.frombuffer(_all(fields, _TENSOR_RAW)[0], dtype)
    return _all(fields, _TENSOR_NAME)[0].decode(), values.reshape(_ints(fields, _TENSOR_DIMS))
