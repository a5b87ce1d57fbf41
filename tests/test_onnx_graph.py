"""The graph of an ONNX file as the package `onnx` reads it."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tenfold.errors import RecognizerError
from tenfold.models import BOX
from tenfold.onnx_graph import read_graph


def test_the_graph_is_what_onnx_reads():
    ours, theirs = read_graph(BOX.read_bytes()), onnx.load(BOX)
    assert list(ours.nodes) == [node.output[0] for node in theirs.graph.node]
    for node in theirs.graph.node:
        found = ours.nodes[node.output[0]]
        assert found.operator == node.op_type
        assert found.inputs == tuple(node.input)
        for attribute in node.attribute:
            value = helper.get_attribute_value(attribute)
            if isinstance(value, int | bytes | list):
                expected = value.decode() if isinstance(value, bytes) else value
                expected = tuple(expected) if isinstance(expected, list) else expected
                assert found.attributes[attribute.name] == expected
    assert set(ours.constants) == {each.name for each in theirs.graph.initializer}
    for each in theirs.graph.initializer:
        np.testing.assert_array_equal(ours.constants[each.name], numpy_helper.to_array(each))
    assert ours.metadata == {each.key: each.value for each in theirs.metadata_props}


def test_what_is_damaged_is_an_error():
    content = BOX.read_bytes()
    generator = np.random.default_rng(0)
    for part in (content[:-7], content[: len(content) // 2], b"a text", b"\x80" * 30):
        with pytest.raises(RecognizerError, match="damaged or no ONNX file"):
            read_graph(part)
    for _ in range(200):  # any other damage is found, or leaves a graph: never another error
        torn = bytearray(content[:2000])
        torn[generator.integers(len(torn))] = generator.integers(256)
        try:
            read_graph(bytes(torn))
        except RecognizerError:
            continue
