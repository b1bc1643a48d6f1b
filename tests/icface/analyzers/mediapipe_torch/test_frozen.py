"""What a CPU does where gradients are wanted, against PyTorch's own operators and their gradients."""

import pytest
import torch
import torch.nn.functional as functional

from icface.analyzers.mediapipe_torch.frozen import FrozenConvolution, FrozenPrelu
from icface.analyzers.mediapipe_torch.network import TfliteNetwork
from icface.analyzers.mediapipe_torch.task import NETWORKS, load_task


def gradient_of(made: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
    weights = torch.linspace(-1, 1, made.numel()).view_as(made)
    return torch.autograd.grad((made * weights).sum(), given)[0]


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("inputs", "outputs", "kernel", "stride", "padding", "groups", "biased"),
    [
        (6, 4, 1, 1, 0, 1, True),
        (5, 7, 1, 1, 0, 1, False),
        (6, 4, 1, 2, 0, 1, True),
        (6, 6, 3, 1, 1, 6, True),
        (6, 6, 5, 2, 2, 6, False),
        (3, 8, 3, 2, 0, 1, True),
    ],
)
def test_convolutions_and_their_gradients(order, inputs, outputs, kernel, stride, padding, groups, biased):
    picture = torch.randn(2, inputs, 9, 8).to(memory_format=order).requires_grad_()
    weight = torch.randn(outputs, inputs // groups, kernel, kernel).contiguous(memory_format=torch.channels_last)
    bias = torch.randn(outputs) if biased else None
    ours = FrozenConvolution.apply(picture, weight, bias, stride, (padding, padding), groups)
    theirs = functional.conv2d(picture, weight, bias, stride, padding, groups=groups)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(gradient_of(ours, picture), gradient_of(theirs, picture), atol=1e-4, rtol=1e-4)


def test_prelu_and_its_gradient():
    values = torch.randn(3, 4, 5, 5)
    values[0, :, 0] = 0.0
    values.requires_grad_()
    slopes = torch.tensor([0.2, 0.0, -0.5, 1.5])
    ours, theirs = FrozenPrelu.apply(values, slopes), functional.prelu(values, slopes)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradient_of(ours, values), gradient_of(theirs, values))


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_have_the_gradients_that_autograd_finds(name):
    graph = load_task().graphs[name]
    network, plain = TfliteNetwork(graph), TfliteNetwork(graph)
    plain.frozen_plan = plain.plan
    values = torch.rand(2, *graph.input_shape[1:]) * (256 if name == "face_blendshapes" else 1)
    values.requires_grad_()
    made, expected = (each(values)[0] for each in (network, plain))
    torch.testing.assert_close(made, expected, atol=1e-3, rtol=1e-4)
    ours, theirs = gradient_of(made, values), gradient_of(expected, values)
    torch.testing.assert_close(ours, theirs, atol=1e-3 * float(theirs.abs().max()), rtol=0)
    steps = [step for _, step, _ in network.frozen_plan]
    assert steps != [step for _, step, _ in network.plan]  # or nothing was compared
