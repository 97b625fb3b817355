"""Extracts the part of a graph that some features need."""

import functools
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any, TypeAlias

import tensorflow as tf

GraphDef: TypeAlias = tf.compat.v1.GraphDef
NodeDef: TypeAlias = tf.compat.v1.NodeDef


class GraphParts:
    """A function of raw columns by name, and its graph.

    TensorFlow's pruning is not enough: a function that called the whole graph would look up the tokens of all columns,
    as table lookups count as stateful.

    Args:
        function: traced, from one SparseTensor per column by name to the features by name. No feature may depend on
            another's columns.
    """

    def __init__(self, function: Any):
        (columns,), _ = function.structured_input_signature
        self._graph, self._features = function.graph, function.structured_outputs
        names, captured = [tensor.name for tensor in self._graph.inputs], function.captured_inputs
        # Inputs of columns come first, in the order of the flattened structure.
        self._columns = _by_name(columns, names)
        self._captured = dict(zip(names[len(names) - len(captured) :], captured, strict=True))
        self._made = _by_name(self._features, [tensor.name for tensor in self._graph.outputs])

    @functools.cached_property
    def _definition(self) -> GraphDef:
        return self._graph.as_graph_def()

    @functools.cached_property
    def _nodes(self) -> dict[str, NodeDef]:
        return {node.name: node for node in self._definition.node}

    @functools.cached_property
    def _reads(self) -> dict[str, Set[str]]:
        """The columns that the value of each node depends on."""
        reads: dict[str, Set[str]] = {_node(t): {name} for name, tensors in self._columns.items() for t in tensors}
        for name in self._nodes:
            waiting = [name]
            while waiting:
                node = waiting[-1]
                inputs = [_node(tensor) for tensor in self._nodes[node].input if not tensor.startswith("^")]
                if missing := [one for one in inputs if one not in reads]:
                    waiting += missing
                else:
                    reads.setdefault(node, frozenset().union(*(reads[one] for one in inputs)))
                    waiting.pop()
        return reads

    def call(
        self, names: Sequence[str], inputs: Mapping[str, tf.SparseTensor]
    ) -> dict[str, tf.Tensor | tf.RaggedTensor]:
        """Add the part for the named features to the function being traced, and return them."""
        outputs = [tensor for name in names for tensor in self._made[name]]
        part = self._part({_node(tensor) for tensor in outputs}, inputs.keys())
        capture = tf.compat.v1.get_default_graph().capture
        feeds = {tensor: capture(value) for tensor, value in self._captured.items() if _node(tensor) in part}
        for name, column in inputs.items():
            values = zip(self._columns[name], tf.nest.flatten(column, expand_composites=True), strict=True)
            feeds |= {tensor: value for tensor, value in values if _node(tensor) in part}
        results = iter(tf.graph_util.import_graph_def(self._graph_of(part), feeds, outputs, name="part"))
        return {
            name: tf.nest.pack_sequence_as(
                self._features[name], [next(results) for _ in self._made[name]], expand_composites=True
            )
            for name in names
        }

    def _part(self, ends: Set[str], columns: Set[str]) -> dict[str, list[str]]:
        """The inputs of each node that the ends need, with control inputs that depend on these columns alone.

        So checks of a feature's columns are kept.
        """
        inputs_of_nodes: dict[str, list[str]] = {}
        waiting = list(ends)
        while waiting:
            node = waiting.pop()
            if node not in inputs_of_nodes:
                inputs = self._nodes[node].input
                inputs_of_nodes[node] = [
                    source for source in inputs if not source.startswith("^") or self._reads[source[1:]] <= columns
                ]
                waiting += [_node(tensor) for tensor in inputs_of_nodes[node]]
        return inputs_of_nodes

    def _graph_of(self, part: Mapping[str, Sequence[str]]) -> GraphDef:
        graph = GraphDef(versions=self._definition.versions)
        for name, inputs in part.items():
            node = graph.node.add()
            node.CopyFrom(self._nodes[name])
            node.input[:] = inputs
        library = {function.signature.name: function for function in self._definition.library.function}
        waiting, copied = [*graph.node], set()
        while waiting:
            for name in _called(waiting.pop()):
                if name in library and name not in copied:
                    copied.add(name)
                    waiting += library[name].node_def
        graph.library.function.extend(library[name] for name in sorted(copied))
        return graph


def _called(node: NodeDef) -> Iterator[str]:
    """The functions that a node refers to."""
    yield node.op
    for value in node.attr.values():
        yield from (function.name for function in (value.func, *value.list.func) if function.name)


def _by_name(structure: Mapping[str, Any], tensors: Sequence[str]) -> dict[str, list[str]]:
    """Split the names of flattened tensors by the parts of a structure."""
    following = iter(tensors)
    return {
        name: [next(following) for _ in tf.nest.flatten(structure[name], expand_composites=True)]
        for name in sorted(structure)
    }


def _node(tensor: str) -> str:
    """The name of a tensor's node."""
    return tensor.lstrip("^").partition(":")[0]
