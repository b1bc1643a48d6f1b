"""A tflite file as data: its operators in order, its constants as float32.

Field numbers and operator codes are those of TensorFlow Lite's published schema (schema.fbs, version 3).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from icface.analyzers.mediapipe_torch.flatbuffer import Table
from icface.arrays import Array
from icface.errors import IcfaceError

Shape = tuple[int, ...]

# fmt: off
OPERATORS = {
    0: "ADD", 2: "CONCATENATION", 3: "CONV_2D", 4: "DEPTHWISE_CONV_2D", 6: "DEQUANTIZE", 14: "LOGISTIC",
    17: "MAX_POOL_2D", 18: "MUL", 19: "RELU", 22: "RESHAPE", 34: "PAD", 39: "TRANSPOSE", 40: "MEAN", 41: "SUB",
    42: "DIV", 45: "STRIDED_SLICE", 54: "PRELU", 59: "NEG", 74: "SUM", 75: "SQRT", 76: "RSQRT",
    99: "SQUARED_DIFFERENCE",
}
# fmt: on
"""The operators that `network.TfliteNetwork` can run, by their BuiltinOperator code."""

DTYPES: dict[int, npt.DTypeLike] = {0: np.dtype("<f4"), 1: np.dtype("<f2"), 2: np.dtype("<i4")}
"""Tensor types that the files use: FLOAT32, FLOAT16, INT32."""
SCHEMA_VERSION = 3
SAME = 0
"""Padding mode of the schema; the other one is VALID."""


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One step: `kind` of `OPERATORS`, the tensors that it reads, the one that it writes."""

    kind: str
    inputs: tuple[int, ...]
    output: int
    options: dict[str, Any]
    """Numbers that decide what it does; `shape` is the output's, of a batch of one."""


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A network. Tensors are numbered; the first dimension of all that depend on the input is the batch."""

    name: str
    input: int
    input_shape: Shape
    outputs: tuple[int, ...]
    output_shapes: tuple[Shape, ...]
    operators: tuple[Operator, ...]
    constants: dict[int, Array]

    def check(self, input_shape: Shape, output_shapes: tuple[Shape, ...]) -> None:
        """Raise IcfaceError unless the network takes and gives arrays of these shapes."""
        if self.input_shape != input_shape or self.output_shapes != output_shapes:
            raise IcfaceError(
                f"{self.name} takes {self.input_shape} and gives {', '.join(map(str, self.output_shapes))}; "
                f"this version of icface knows {input_shape} and {', '.join(map(str, output_shapes))}"
            )


def read_graph(data: bytes, name: str) -> Graph:
    """The network in the bytes of a .tflite file called `name`.

    Raises IcfaceError naming the operator that icface does not know, and ValueError when the bytes are not such a file.
    """
    if data[4:8] != b"TFL3":
        raise ValueError("it is not a tflite file")
    model = Table.root(data)
    if model.number(0, "I") != SCHEMA_VERSION:
        raise ValueError(f"its schema has version {model.number(0, 'I')}, not {SCHEMA_VERSION}")
    subgraphs = model.tables(2)
    if len(subgraphs) != 1:
        raise ValueError(f"it has {len(subgraphs)} subgraphs, not 1")
    return _Reader(model, subgraphs[0], name).graph()


class _Reader:
    def __init__(self, model: Table, subgraph: Table, name: str) -> None:
        self.name = name
        self.codes = [max(code.number(0, "b"), code.number(3, "i")) for code in model.tables(1)]
        self.buffers = model.tables(4)
        self.tensors = subgraph.tables(0)
        self.subgraph = subgraph

    def graph(self) -> Graph:
        operators = []
        constants: dict[int, Array] = {}
        for table in self.subgraph.tables(3):
            kind = self.kind(table)
            inputs, output = self.tensors_of(table)
            if kind == "DEQUANTIZE":  # float16 weights: done once, here
                constants[output] = self.constant(inputs[0]).astype(np.float32)
                continue
            options = {"shape": list(self.shape(output)), **self.options(kind, table, inputs)}
            floats = tuple(index for index in inputs if index >= 0 and not self.is_integers(index))
            for index in floats:
                if index not in constants and self.has_data(index):
                    constants[index] = self.constant(index).astype(np.float32)
            operators.append(Operator(kind=kind, inputs=floats, output=output, options=options))
        (source,) = self.integers(self.subgraph.array(1, "<i4"))
        outputs = self.integers(self.subgraph.array(2, "<i4"))
        used = {index for operator in operators for index in operator.inputs}
        return Graph(
            name=self.name,
            input=source,
            input_shape=self.shape(source),
            outputs=outputs,
            output_shapes=tuple(self.shape(index) for index in outputs),
            operators=tuple(operators),
            constants={index: values for index, values in constants.items() if index in used},
        )

    def kind(self, table: Table) -> str:
        code = self.codes[table.number(0, "I")]
        if code not in OPERATORS:
            raise IcfaceError(
                f"{self.name} needs operator {code} of tflite's BuiltinOperator list, which icface does not know; "
                f"it knows {', '.join(OPERATORS.values())}"
            )
        return OPERATORS[code]

    def tensors_of(self, table: Table) -> tuple[tuple[int, ...], int]:
        inputs, outputs = (self.integers(table.array(field, "<i4")) for field in (1, 2))
        if len(outputs) != 1 or any(not -1 <= index < len(self.tensors) for index in (*inputs, *outputs)):
            raise ValueError("an operator names tensors that are not there")
        return inputs, outputs[0]

    def shape(self, index: int) -> Shape:
        return self.integers(self.tensors[index].array(0, "<i4"))

    def has_data(self, index: int) -> bool:
        return len(self.buffers[self.tensors[index].number(2, "I")].array(0, "u1")) > 0

    def is_integers(self, index: int) -> bool:
        return self.tensors[index].number(1, "b") == 2

    def constant(self, index: int) -> npt.NDArray[np.generic]:
        tensor = self.tensors[index]
        kind = tensor.number(1, "b")
        if kind not in DTYPES:
            raise ValueError(f"tensor {tensor.text(3)} has type {kind}")
        content = self.buffers[tensor.number(2, "I")].array(0, "u1").tobytes()
        return np.frombuffer(content, DTYPES[kind]).reshape(self.shape(index))

    @staticmethod
    def integers(values: npt.NDArray[np.generic]) -> tuple[int, ...]:
        return tuple(int(value) for value in values.reshape(-1).tolist())

    def options(self, kind: str, table: Table, inputs: tuple[int, ...]) -> dict[str, Any]:
        """Of one operator, with its integer inputs (axes, paddings, orders) put in."""
        fields = table.table(4)

        def number(field: int, letter: str, default: int = 0) -> int:
            return fields.number(field, letter, default) if fields is not None else default

        def given(position: int) -> list[int]:
            return list(self.integers(self.constant(inputs[position])))

        # Activation, and what else an operator does that is not followed here, by field number.
        activation = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 4, "MAX_POOL_2D": 5, "CONCATENATION": 1}
        arithmetic = ("ADD", "MUL", "SUB", "DIV")
        activated = (
            number(0 if kind in arithmetic else activation[kind], "b") if kind in (*arithmetic, *activation) else 0
        )
        if activated > 1:
            raise IcfaceError(
                f"{self.name}: {kind} with activation {activated} is unknown to icface; none and RELU are"
            )
        readers: Mapping[str, Callable[[], dict[str, Any]]] = {
            "CONV_2D": lambda: self.sliding(
                kind, number(0, "b"), (number(2, "i"), number(1, "i")), (number(5, "i", 1), number(4, "i", 1))
            ),
            "DEPTHWISE_CONV_2D": lambda: self.sliding(
                kind, number(0, "b"), (number(2, "i"), number(1, "i")), (number(6, "i", 1), number(5, "i", 1))
            ),
            "MAX_POOL_2D": lambda: (
                {"size": [number(4, "i"), number(3, "i")]}
                | self.sliding(kind, number(0, "b"), (number(2, "i"), number(1, "i")), (1, 1))
            ),
            "CONCATENATION": lambda: {"axis": number(0, "i")},
            "PAD": lambda: {"pads": given(1)},
            "TRANSPOSE": lambda: {"order": given(1)},
            "MEAN": lambda: {"axes": given(1)},
            "SUM": lambda: {"axes": given(1)},
            "STRIDED_SLICE": lambda: self.slice(given, tuple(number(field, "i") for field in range(5))),
        }
        special = readers[kind]() if kind in readers else {}
        return special | ({"relu": True} if activated else {})

    def sliding(self, kind: str, padding: int, stride: tuple[int, int], dilation: tuple[int, int]) -> dict[str, Any]:
        if dilation != (1, 1) or stride[0] != stride[1]:
            raise IcfaceError(f"{self.name}: {kind} with stride {stride} and dilation {dilation} is unknown to icface")
        return {"stride": stride[0], "same": padding == SAME}

    def slice(self, given: Callable[[int], list[int]], masks: tuple[int, ...]) -> dict[str, Any]:
        begins, ends, steps = given(1), given(2), given(3)
        begin_mask, end_mask, ellipsis, new_axes, shrunk = masks
        if ellipsis or new_axes or shrunk & ~1 or set(steps) != {1}:
            raise IcfaceError(f"{self.name}: STRIDED_SLICE with masks {masks} and steps {steps} is unknown to icface")
        return {
            "begins": [0 if begin_mask >> axis & 1 else begin for axis, begin in enumerate(begins)],
            "ends": [None if end_mask >> axis & 1 else end for axis, end in enumerate(ends)],
        }
