"""Joined operators give the numbers of those that they were joined from."""

import numpy as np
import pytest
import torch

from icface.analyzers.mediapipe_torch.fusing import fused
from icface.analyzers.mediapipe_torch.graph import Graph, Operator
from icface.analyzers.mediapipe_torch.network import CPU_PICTURES, TfliteNetwork
from icface.analyzers.mediapipe_torch.task import NETWORKS, load_task

SHAPE = [1, 6, 6, 4]


def operator(kind: str, inputs: tuple[int, ...], output: int, **options: object) -> Operator:
    return Operator(kind=kind, inputs=inputs, output=output, options={"shape": SHAPE, **options})


def convolution(source: int, output: int) -> Operator:
    return operator("CONV_2D", (source, 10, 11), output, stride=1, same=False)


def graph_of(*operators: Operator, outputs: tuple[int, ...]) -> Graph:
    rng = np.random.default_rng(0)
    return Graph(
        name="small",
        input=0,
        input_shape=tuple(SHAPE),
        outputs=outputs,
        output_shapes=(tuple(SHAPE),) * len(outputs),
        operators=operators,
        constants={10: rng.normal(size=(4, 1, 1, 4)).astype(np.float32), 11: np.ones(4, np.float32)},
    )


def both_ways(network: TfliteNetwork, values: torch.Tensor) -> tuple[tuple[torch.Tensor, ...], ...]:
    with torch.no_grad():
        return network(values), network._run(network.plan, values)


@pytest.mark.parametrize("name", NETWORKS)
def test_mediapipes_networks_give_the_same(name: str) -> None:
    graph = load_task().graphs[name]
    network = TfliteNetwork(graph)
    torch.manual_seed(0)
    values = torch.rand(CPU_PICTURES + 3, *graph.input_shape[1:])
    before = values.clone()
    for one, other in zip(*both_ways(network, values), strict=True):
        torch.testing.assert_close(one, other, atol=5e-4, rtol=1e-5)
    assert torch.equal(values, before)


def test_what_is_joined() -> None:
    kinds = {name: [each.kind for each in fused(graph)] for name, graph in load_task().graphs.items()}
    assert "RELU" not in kinds["face_detector"]
    assert "PAD" not in kinds["face_detector"]
    assert kinds["face_landmarks_detector"].count("ADD") == 3, "the rest is summed while it is convolved"


@pytest.mark.parametrize(
    ("operators", "outputs"),
    [
        # The addend is read later, or is an output, or the graph's input; the sum is read twice.
        ((convolution(0, 1), convolution(1, 2), operator("ADD", (1, 2), 3), operator("ADD", (1, 3), 4)), (4,)),
        ((convolution(0, 1), convolution(1, 2), operator("ADD", (1, 2), 3)), (1, 3)),
        ((convolution(0, 1), operator("ADD", (0, 1), 2)), (2,)),
        ((convolution(0, 1), operator("RELU", (1,), 2), operator("ADD", (1, 2), 3)), (3,)),
    ],
)
def test_what_others_read_is_not_written_over(operators: tuple[Operator, ...], outputs: tuple[int, ...]) -> None:
    graph = graph_of(*operators, outputs=outputs)
    assert not any("into" in each.options or each.options.get("relu") for each in fused(graph))
    values = torch.randn(2, *SHAPE[1:])
    before = values.clone()
    for one, other in zip(*both_ways(TfliteNetwork(graph), values), strict=True):
        torch.testing.assert_close(one, other)
    assert torch.equal(values, before)


def test_a_sum_that_is_clipped_is_one_operator() -> None:
    graph = graph_of(
        *(convolution(0, 1), operator("RELU", (1,), 2), convolution(2, 3)),
        *(operator("ADD", (2, 3), 4), operator("RELU", (4,), 5)),
        outputs=(5,),
    )
    assert [each.kind for each in fused(graph)] == ["CONV_2D"] * 2
    one, other = both_ways(TfliteNetwork(graph), torch.randn(3, *SHAPE[1:]))
    torch.testing.assert_close(one[0], other[0])
    assert (one[0] == 0).any() and (one[0] > 0).any()


def test_with_gradients_nothing_is_written_over() -> None:
    network = TfliteNetwork(load_task().graphs["face_detector"])
    values = torch.rand(1, 128, 128, 3, requires_grad=True)
    network(values)[0].sum().backward()
    assert values.grad is not None and values.grad.any()
