"""A graph's operators joined into fewer, for a CPU without gradients: oneDNN adds and clips while it convolves.

The numbers stay the same. Three rules are applied, in this order:
- Channels of zeros that are only padded on to be added to are left out: the addition takes the channels that exist.
- A convolution whose output is only added to a tensor that nothing reads later writes its sums into that tensor.
- A RELU that is the only reader of a convolution or of an addition becomes part of it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from icface.analyzers.mediapipe_torch.graph import Graph, Operator

CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
OWN_MEMORY = (*CONVOLUTIONS, "ADD", "MAX_POOL_2D", "PRELU", "RELU")
"""Operators whose output is never a view of what they read."""


def fused(graph: Graph) -> tuple[Operator, ...]:
    """The operators of `graph`, joined where one pass can do the work of several.

    They have options beside those of `graph.Operator`. `into` of a convolution is the tensor that it adds its sums to,
    which is its last input too. `part` of an addition says that the first input has fewer channels than the second.
    """
    operators = _without_padding(graph, graph.operators)
    operators = _with_sums(graph, operators)
    return tuple(_with_relu(graph, operators))


def _reads(graph: Graph, operators: Sequence[Operator]) -> Counter[int]:
    """How often each tensor is read; being an output of the graph counts."""
    return Counter([*(index for operator in operators for index in operator.inputs), *graph.outputs])


def _without_padding(graph: Graph, operators: Sequence[Operator]) -> list[Operator]:
    reads, writer = _reads(graph, operators), {operator.output: operator for operator in operators}
    joined: list[Operator] = []
    for operator in operators:
        padding = writer.get(operator.inputs[0])
        if (
            operator.kind == "ADD"
            and padding is not None
            and padding.kind == "PAD"
            and not any(padding.options["pads"][:-1])
            and reads[padding.output] == 1
            and _is_free(operator.inputs[1], reads, writer)
        ):
            joined.remove(padding)
            inputs = (padding.inputs[0], operator.inputs[1])
            operator = replace(operator, inputs=inputs, options={**operator.options, "part": True})
        joined.append(operator)
    return joined


def _with_sums(graph: Graph, operators: Sequence[Operator]) -> list[Operator]:
    reads, writer = _reads(graph, operators), {operator.output: operator for operator in operators}
    last_read = {index: place for place, operator in enumerate(operators) for index in operator.inputs}
    joined: list[Operator] = []
    for place, operator in enumerate(operators):
        before = joined[-1] if joined else None
        if (
            operator.kind == "ADD"
            and before is not None
            and before.kind in CONVOLUTIONS
            and operator.inputs[1] == before.output
            and not operator.options.get("part")
            and not before.options.get("relu")
            and reads[before.output] == 1
            and last_read[operator.inputs[0]] == place
            and operator.inputs[0] not in graph.outputs
            and operator.inputs[0] in writer
            and writer[operator.inputs[0]].kind in OWN_MEMORY
            and writer[operator.inputs[0]].options["shape"] == operator.options["shape"]
        ):
            options = {**before.options, "into": operator.inputs[0], "relu": operator.options.get("relu", False)}
            inputs = (*before.inputs, operator.inputs[0])
            joined[-1] = replace(before, inputs=inputs, output=operator.output, options=options)
        else:
            joined.append(operator)
    return joined


def _with_relu(graph: Graph, operators: Sequence[Operator]) -> list[Operator]:
    reads = _reads(graph, operators)
    joined: list[Operator] = []
    for operator in operators:
        before = joined[-1] if joined else None
        if (
            operator.kind == "RELU"
            and before is not None
            and before.kind in (*CONVOLUTIONS, "ADD")
            and operator.inputs[0] == before.output
            and reads[before.output] == 1
        ):
            joined[-1] = replace(before, output=operator.output, options={**before.options, "relu": True})
        else:
            joined.append(operator)
    return joined


def _is_free(index: int, reads: Counter[int], writer: dict[int, Operator]) -> bool:
    """Whether a convolution made the tensor `index` for one reader, which may write over it."""
    return index in writer and writer[index].kind in CONVOLUTIONS and reads[index] == 1
