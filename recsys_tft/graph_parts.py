"""Parts of a graph of many columns and features: the minimum that some features need."""

import functools
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any, TypeAlias

import tensorflow as tf

GraphDef: TypeAlias = tf.compat.v1.GraphDef
NodeDef: TypeAlias = tf.compat.v1.NodeDef


class GraphParts:
    """A function of raw columns by name, and its graph.

    A function that calls it holds all of it, of which TensorFlow prunes what has no effect: it would look up the tokens
    of all columns, of those that are empty too, as a look-up reads a table that might be written.

    Args:
        function: from one SparseTensor per column, by name, to the features by name; traced. No feature depends on
            another's columns.
    """

    def __init__(self, function: Any):
        (columns,), _ = function.structured_input_signature
        self._graph, self._features = function.graph, function.structured_outputs
        names, captured = [tensor.name for tensor in self._graph.inputs], function.captured_inputs
        # Those of the columns come first, in the order in which a structure is flattened.
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
        """The columns that each node depends on by its values."""
        found: dict[str, Set[str]] = {_node(t): {name} for name, tensors in self._columns.items() for t in tensors}
        for name in self._nodes:
            waiting = [name]
            while waiting:
                node = waiting[-1]
                inputs = [_node(tensor) for tensor in self._nodes[node].input if not tensor.startswith("^")]
                if missing := [one for one in inputs if one not in found]:
                    waiting += missing
                else:
                    found.setdefault(node, frozenset().union(*(found[one] for one in inputs)))
                    waiting.pop()
        return found

    def call(
        self, names: Sequence[str], inputs: Mapping[str, tf.SparseTensor]
    ) -> dict[str, tf.Tensor | tf.RaggedTensor]:
        """The named features of all columns that they read, in a function that is being traced."""
        wanted = [tensor for name in names for tensor in self._made[name]]
        part = self._part({_node(tensor) for tensor in wanted}, inputs.keys())
        capture = tf.compat.v1.get_default_graph().capture
        given = {tensor: capture(value) for tensor, value in self._captured.items() if _node(tensor) in part}
        for name, column in inputs.items():
            values = zip(self._columns[name], tf.nest.flatten(column, expand_composites=True), strict=True)
            given |= {tensor: value for tensor, value in values if _node(tensor) in part}
        found = iter(tf.graph_util.import_graph_def(self._graph_of(part), given, wanted, name="part"))
        return {
            name: tf.nest.pack_sequence_as(
                self._features[name], [next(found) for _ in self._made[name]], expand_composites=True
            )
            for name in names
        }

    def _part(self, ends: Set[str], columns: Set[str]) -> dict[str, list[str]]:
        """The inputs of each node that the ends need; of those that only have to run before, what reads these columns.

        A check of a feature's columns is kept, as is what depends on none.
        """
        found: dict[str, list[str]] = {}
        waiting = list(ends)
        while waiting:
            node = waiting.pop()
            if node not in found:
                inputs = self._nodes[node].input
                found[node] = [of for of in inputs if not of.startswith("^") or self._reads[of[1:]] <= columns]
                waiting += [_node(tensor) for tensor in found[node]]
        return found

    def _graph_of(self, part: Mapping[str, Sequence[str]]) -> GraphDef:
        graph = GraphDef(versions=self._definition.versions)
        for name, inputs in part.items():
            node = graph.node.add()
            node.CopyFrom(self._nodes[name])
            node.input[:] = inputs
        library = {function.signature.name: function for function in self._definition.library.function}
        waiting, found = [*graph.node], set()
        while waiting:
            for name in _called(waiting.pop()):
                if name in library and name not in found:
                    found.add(name)
                    waiting += library[name].node_def
        graph.library.function.extend(library[name] for name in sorted(found))
        return graph


def _called(node: NodeDef) -> Iterator[str]:
    """The functions that a node names."""
    yield node.op
    for value in node.attr.values():
        yield from (function.name for function in (value.func, *value.list.func) if function.name)


def _by_name(structure: Mapping[str, Any], tensors: Sequence[str]) -> dict[str, list[str]]:
    """The names of the tensors of each part of a structure, of those of all parts as it is flattened."""
    following = iter(tensors)
    return {
        name: [next(following) for _ in tf.nest.flatten(structure[name], expand_composites=True)]
        for name in sorted(structure)
    }


def _node(tensor: str) -> str:
    """The name of the node that makes a tensor."""
    return tensor.lstrip("^").partition(":")[0]
