"""A `Graph` as a torch module: tflite's operators on batches, differentiable, with frozen weights."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from icface.analyzers.mediapipe_torch.frozen import FrozenConvolution, FrozenPrelu
from icface.analyzers.mediapipe_torch.fusing import CONVOLUTIONS, fused
from icface.analyzers.mediapipe_torch.graph import Graph, Operator

Step = Callable[[list[Tensor], dict[str, Any]], Tensor]
Plan = list[tuple[Operator, Step, list[int]]]
"""Operators in order, what each does, and the tensors that nothing reads afterwards."""
CPU_PICTURES = 8
"""Pictures that a CPU works on at a time: of more, each operator would ask the kernel for fresh memory."""


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
        self.plan = _plan(graph, graph.operators, STEPS)
        self.fused_plan = _plan(graph, fused(graph), FUSED_STEPS)
        self.frozen_plan = _plan(graph, graph.operators, FROZEN_STEPS)
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
        if not _is_plain_cpu(values):
            return self._run(self.plan, values)
        if torch.is_grad_enabled():
            return self._run(self.frozen_plan, values)
        parts = [self._run(self.fused_plan, part) for part in values.split(CPU_PICTURES)]
        return tuple(torch.cat(outputs) for outputs in zip(*parts, strict=True)) if len(parts) > 1 else parts[0]

    def _run(self, plan: Plan, values: Tensor) -> tuple[Tensor, ...]:
        known: dict[int, Tensor] = {index: getattr(self, f"c{index}") for index in self.constants}
        known[self.input] = values
        for operator, step, done in plan:
            inputs = [known[index] for index in operator.inputs]
            if operator.output in self.outputs:
                with torch.autocast(values.device.type, enabled=False):
                    known[operator.output] = step([at_least_float32(value) for value in inputs], operator.options)
            else:
                known[operator.output] = step(inputs, operator.options)
            for index in done:
                del known[index]
        return tuple(known[index] for index in self.outputs)


def _plan(graph: Graph, operators: Sequence[Operator], steps: dict[str, Step]) -> Plan:
    last_use = {index: place for place, operator in enumerate(operators) for index in operator.inputs}
    kept = {*graph.constants, *graph.outputs}
    return [
        (
            operator,
            steps[operator.kind],
            [index for index in {*operator.inputs} - kept if last_use[index] == place],
        )
        for place, operator in enumerate(operators)
    ]


def _is_plain_cpu(values: Tensor) -> bool:
    """Whether a batch may take the ways of `fusing` and `frozen`: float32 on a CPU with oneDNN."""
    return (
        values.device.type == "cpu"
        and values.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and torch.backends.mkldnn.is_available()
    )


def at_least_float32(values: Tensor) -> Tensor:
    """`values` in float32, or float64 if they are: what must not be computed in half precision."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after, as tflite's SAME wants them: the odd one comes after."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _padded(inputs: list[Tensor], options: dict[str, Any]) -> tuple[Tensor, tuple[int, int], int]:
    """What a convolution reads, (B, C, H, W), the zeros that it adds on both sides, and its groups."""
    values, weight = inputs[:2]
    picture = values.permute(0, 3, 1, 2)
    padding = (0, 0)
    if options["same"]:
        rows, columns = (
            _same_padding(size, kernel, options["stride"])
            for size, kernel in zip(values.shape[1:3], weight.shape[2:], strict=True)
        )
        if rows[0] == rows[1] and columns[0] == columns[1]:
            padding = (rows[0], columns[0])
        else:
            picture = functional.pad(picture, (*columns, *rows))
    return picture, padding, picture.shape[1] // weight.shape[1]


def _convolve(inputs: list[Tensor], options: dict[str, Any]) -> Tensor:
    picture, padding, groups = _padded(inputs, options)
    bias = inputs[2] if len(inputs) > 2 else None
    made = functional.conv2d(picture, inputs[1], bias, options["stride"], padding, groups=groups)
    return _clipped(made.permute(0, 2, 3, 1), options)


def _convolve_frozen(inputs: list[Tensor], options: dict[str, Any]) -> Tensor:
    picture, padding, groups = _padded(inputs, options)
    bias = inputs[2] if len(inputs) > 2 else None
    made = FrozenConvolution.apply(picture, inputs[1], bias, options["stride"], padding, groups)
    return _clipped(made.permute(0, 2, 3, 1), options)


def _convolve_fused(inputs: list[Tensor], options: dict[str, Any]) -> Tensor:
    """The convolution, what it is added to and the RELU in one pass of oneDNN, which conv2d does not offer.

    These are the operators that torch.compile's CPU code calls. conv2d gives 1x1 kernels of few channels to a matrix
    product that is slower.
    """
    sums = inputs.pop() if "into" in options else None
    picture, padding, groups = _padded(inputs, options)
    bias = inputs[2] if len(inputs) > 2 else None
    stride = [options["stride"]] * 2
    relu = "relu" if options.get("relu") else None
    settings = (inputs[1], bias, padding, stride, [1, 1], groups)
    if sums is None:
        made = torch.ops.mkldnn._convolution_pointwise(picture, *settings, relu or "none", [], "")
        return made.permute(0, 2, 3, 1)
    added = torch.ops.mkldnn._convolution_pointwise_.binary
    added(sums.permute(0, 3, 1, 2), picture, *settings, "add", 1.0, relu, [], None)
    return sums


def _add_fused(inputs: list[Tensor], options: dict[str, Any]) -> Tensor:
    if not options.get("part"):
        return _clipped(inputs[0] + inputs[1], options)
    sums = inputs[1]
    sums[..., : inputs[0].shape[-1]].add_(inputs[0])
    return sums.relu_() if options.get("relu") else sums


def _clipped(values: Tensor, options: dict[str, Any]) -> Tensor:
    return functional.relu(values) if options.get("relu") else values


def _pool(inputs: list[Tensor], options: dict[str, Any]) -> Tensor:
    picture = inputs[0].permute(0, 3, 1, 2)
    if options["same"]:
        rows, columns = (
            _same_padding(picture.shape[axis], size, options["stride"])
            for axis, size in zip((2, 3), options["size"], strict=True)
        )
        if any((*rows, *columns)):
            picture = functional.pad(picture, (*columns, *rows), value=float("-inf"))
    made = functional.max_pool2d(picture, options["size"], options["stride"])
    return _clipped(made.permute(0, 2, 3, 1), options)


def _concatenate(inputs: list[Tensor], options: dict[str, Any]) -> Tensor:
    batch = max(value.shape[0] for value in inputs)
    made = torch.cat([value.expand(batch, *value.shape[1:]) for value in inputs], dim=options["axis"])
    return _clipped(made, options)


def _pad(inputs: list[Tensor], options: dict[str, Any]) -> Tensor:
    pairs = [options["pads"][axis : axis + 2] for axis in range(0, len(options["pads"]), 2)]
    return functional.pad(inputs[0], [number for pair in reversed(pairs) for number in pair])


def _prelu(inputs: list[Tensor], options: dict[str, Any]) -> Tensor:
    return functional.prelu(inputs[0].permute(0, 3, 1, 2), inputs[1].flatten()).permute(0, 2, 3, 1)


def _prelu_frozen(inputs: list[Tensor], options: dict[str, Any]) -> Tensor:
    made: Tensor = FrozenPrelu.apply(inputs[0].permute(0, 3, 1, 2), inputs[1].flatten())
    return made.permute(0, 2, 3, 1)


def _slice(inputs: list[Tensor], options: dict[str, Any]) -> Tensor:
    # The first axis is the batch, of which tflite's graph knows only one element.
    values = inputs[0]
    for axis, (begin, end) in enumerate(zip(options["begins"], options["ends"], strict=True)):
        if axis and (begin or end is not None):
            values = values.narrow(axis, begin, (values.shape[axis] if end is None else end) - begin)
    return values


STEPS: dict[str, Step] = {
    "ADD": lambda inputs, options: _clipped(inputs[0] + inputs[1], options),
    "CONCATENATION": _concatenate,
    "CONV_2D": _convolve,
    "DEPTHWISE_CONV_2D": _convolve,
    "DIV": lambda inputs, options: _clipped(inputs[0] / inputs[1], options),
    "LOGISTIC": lambda inputs, options: inputs[0].sigmoid(),
    "MAX_POOL_2D": _pool,
    "MEAN": lambda inputs, options: inputs[0].mean(options["axes"], keepdim=True),
    "MUL": lambda inputs, options: _clipped(inputs[0] * inputs[1], options),
    "NEG": lambda inputs, options: -inputs[0],
    "PAD": _pad,
    "PRELU": _prelu,
    "RELU": lambda inputs, options: functional.relu(inputs[0]),
    "RESHAPE": lambda inputs, options: inputs[0].reshape(-1, *options["shape"][1:]),
    "RSQRT": lambda inputs, options: inputs[0].rsqrt(),
    "SQRT": lambda inputs, options: inputs[0].sqrt(),
    "SQUARED_DIFFERENCE": lambda inputs, options: (inputs[0] - inputs[1]).square(),
    "STRIDED_SLICE": _slice,
    "SUB": lambda inputs, options: _clipped(inputs[0] - inputs[1], options),
    "SUM": lambda inputs, options: inputs[0].sum(options["axes"], keepdim=True),
    "TRANSPOSE": lambda inputs, options: inputs[0].permute(options["order"]),
}
"""What each of `graph.OPERATORS` does, but for DEQUANTIZE, which is done when the file is read."""
FUSED_STEPS = STEPS | {
    "ADD": _add_fused,
    "CONV_2D": _convolve_fused,
    "DEPTHWISE_CONV_2D": _convolve_fused,
}
"""The same for the operators of `fusing`."""
FROZEN_STEPS = STEPS | {
    "CONV_2D": _convolve_frozen,
    "DEPTHWISE_CONV_2D": _convolve_frozen,
    "PRELU": _prelu_frozen,
}
"""The same as `STEPS` where gradients are wanted on a CPU (`frozen`)."""
