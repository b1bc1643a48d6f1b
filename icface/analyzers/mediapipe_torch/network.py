"""A `Graph` as a torch module: tflite's operators on batches, differentiable, with frozen weights."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from icface.analyzers.mediapipe_torch.graph import Graph, Operator

Step = Callable[[list[Tensor], dict[str, Any]], Tensor]
CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")


class TfliteNetwork(nn.Module):
    """One network of a .tflite file.

    Input and outputs have the file's shapes, but the first dimension is any batch. Pictures are (B, H, W, C) float32,
    which is how tflite keeps them. Seen as (B, C, H, W), that is torch's channels-last order, so nothing is copied in
    between. Weights are buffers, not parameters, so no optimiser finds them; they are in no state dict either. The
    operators that write outputs run in float32 under autocast: coordinates of up to 256 have no bits left in bfloat16.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.input = graph.input
        self.outputs = graph.outputs
        self.operators = [(operator, STEPS[operator.kind]) for operator in graph.operators]
        last_use = {index: place for place, operator in enumerate(graph.operators) for index in operator.inputs}
        self.done = [
            [index for index in operator.inputs if last_use[index] == place and index not in graph.constants]
            for place, operator in enumerate(graph.operators)
        ]
        # An addition may write over a convolution's output that nothing else reads: fresh memory costs more than sums.
        fresh = {operator.output for operator in graph.operators if operator.kind in CONVOLUTIONS}
        self.overwriting = [
            operator.kind == "ADD"
            and operator.inputs[1] in fresh
            and operator.inputs[1] in done
            and not operator.options.get("relu")
            for operator, done in zip(graph.operators, self.done, strict=True)
        ]
        self.constants = list(graph.constants)
        kinds = {index: operator.kind for operator in graph.operators for index in operator.inputs[1:2]}
        for index, values in graph.constants.items():
            weight = torch.from_numpy(values.copy())
            if kinds.get(index) in CONVOLUTIONS:
                # tflite: (out, height, width, in) and (1, height, width, channels).
                order = (0, 3, 1, 2) if kinds[index] == "CONV_2D" else (3, 0, 1, 2)
                weight = weight.permute(order).contiguous(memory_format=torch.channels_last)
            self.register_buffer(f"c{index}", weight, persistent=False)

    def forward(self, values: Tensor) -> tuple[Tensor, ...]:
        """The outputs, in the file's order, of a batch of inputs."""
        known: dict[int, Tensor] = {index: getattr(self, f"c{index}") for index in self.constants}
        known[self.input] = values
        learning = torch.is_grad_enabled()
        for (operator, step), done, overwrites in zip(self.operators, self.done, self.overwriting, strict=True):
            inputs = [known[index] for index in operator.inputs]
            if overwrites and not learning:
                known[operator.output] = inputs[1].add_(inputs[0])
            elif operator.output in self.outputs:
                with torch.autocast(values.device.type, enabled=False):
                    known[operator.output] = _run(step, [at_least_float32(value) for value in inputs], operator)
            else:
                known[operator.output] = _run(step, inputs, operator)
            for index in done:
                del known[index]
        return tuple(known[index] for index in self.outputs)


def at_least_float32(values: Tensor) -> Tensor:
    """`values` in float32, or float64 if they are: what must not be computed in half precision."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _run(step: Step, inputs: list[Tensor], operator: Operator) -> Tensor:
    made = step(inputs, operator.options)
    return functional.relu(made) if operator.options.get("relu") else made


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after, as tflite's SAME wants them: the odd one comes after."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _convolve(inputs: list[Tensor], options: dict[str, Any]) -> Tensor:
    values, weight = inputs[:2]
    bias = inputs[2] if len(inputs) > 2 else None
    stride, (height, width) = options["stride"], weight.shape[2:]
    picture = values.permute(0, 3, 1, 2)
    padding: tuple[int, int] = (0, 0)
    if options["same"]:
        rows, columns = _same_padding(values.shape[1], height, stride), _same_padding(values.shape[2], width, stride)
        if rows[0] == rows[1] and columns[0] == columns[1]:
            padding = (rows[0], columns[0])
        else:
            picture = functional.pad(picture, (*columns, *rows))
    groups = picture.shape[1] // weight.shape[1]
    return functional.conv2d(picture, weight, bias, stride, padding, groups=groups).permute(0, 2, 3, 1)


def _pool(inputs: list[Tensor], options: dict[str, Any]) -> Tensor:
    picture = inputs[0].permute(0, 3, 1, 2)
    if options["same"]:
        rows, columns = (
            _same_padding(picture.shape[axis], size, options["stride"])
            for axis, size in zip((2, 3), options["size"], strict=True)
        )
        if any((*rows, *columns)):
            picture = functional.pad(picture, (*columns, *rows), value=float("-inf"))
    return functional.max_pool2d(picture, options["size"], options["stride"]).permute(0, 2, 3, 1)


def _concatenate(inputs: list[Tensor], options: dict[str, Any]) -> Tensor:
    batch = max(value.shape[0] for value in inputs)
    return torch.cat([value.expand(batch, *value.shape[1:]) for value in inputs], dim=options["axis"])


def _pad(inputs: list[Tensor], options: dict[str, Any]) -> Tensor:
    pairs = [options["pads"][axis : axis + 2] for axis in range(0, len(options["pads"]), 2)]
    return functional.pad(inputs[0], [number for pair in reversed(pairs) for number in pair])


def _prelu(inputs: list[Tensor], options: dict[str, Any]) -> Tensor:
    return functional.prelu(inputs[0].permute(0, 3, 1, 2), inputs[1].flatten()).permute(0, 2, 3, 1)


def _slice(inputs: list[Tensor], options: dict[str, Any]) -> Tensor:
    # The first axis is the batch, of which tflite's graph knows only one element.
    values = inputs[0]
    for axis, (begin, end) in enumerate(zip(options["begins"], options["ends"], strict=True)):
        if axis and (begin or end is not None):
            values = values.narrow(axis, begin, (values.shape[axis] if end is None else end) - begin)
    return values


STEPS: dict[str, Step] = {
    "ADD": lambda inputs, options: inputs[0] + inputs[1],
    "CONCATENATION": _concatenate,
    "CONV_2D": _convolve,
    "DEPTHWISE_CONV_2D": _convolve,
    "DIV": lambda inputs, options: inputs[0] / inputs[1],
    "LOGISTIC": lambda inputs, options: inputs[0].sigmoid(),
    "MAX_POOL_2D": _pool,
    "MEAN": lambda inputs, options: inputs[0].mean(options["axes"], keepdim=True),
    "MUL": lambda inputs, options: inputs[0] * inputs[1],
    "NEG": lambda inputs, options: -inputs[0],
    "PAD": _pad,
    "PRELU": _prelu,
    "RELU": lambda inputs, options: functional.relu(inputs[0]),
    "RESHAPE": lambda inputs, options: inputs[0].reshape(-1, *options["shape"][1:]),
    "RSQRT": lambda inputs, options: inputs[0].rsqrt(),
    "SQRT": lambda inputs, options: inputs[0].sqrt(),
    "SQUARED_DIFFERENCE": lambda inputs, options: (inputs[0] - inputs[1]).square(),
    "STRIDED_SLICE": _slice,
    "SUB": lambda inputs, options: inputs[0] - inputs[1],
    "SUM": lambda inputs, options: inputs[0].sum(options["axes"], keepdim=True),
    "TRANSPOSE": lambda inputs, options: inputs[0].permute(options["order"]),
}
"""What each of `graph.OPERATORS` does, but for DEQUANTIZE, which is done when the file is read."""
