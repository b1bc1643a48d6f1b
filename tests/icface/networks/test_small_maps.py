"""A convolution of few pixels gives what `nn.Conv2d` gives, forward and backward, also after its weights changed."""

import pytest
import torch
from torch import nn

from icface.networks import small_maps
from icface.networks.small_maps import SmallMapConv2d, neighbours
from icface.training.fused_adam import FusedAdam


def pair(inputs=6, outputs=5, stride=1):
    """One of ours, and PyTorch's with the same weights, channels-last as in a training."""
    torch.manual_seed(3)
    ours = SmallMapConv2d(inputs, outputs, stride)
    plain = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    plain.load_state_dict(ours.state_dict())
    for layer in (ours, plain):
        layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
    return ours, plain


def features(*shape, dtype=torch.float32):
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(5), dtype=dtype)
    return drawn.contiguous(memory_format=torch.channels_last).requires_grad_()


def test_neighbours_times_weights_are_the_convolution():
    x, weight = features(2, 3, 4, 6, dtype=torch.float64), features(5, 3, 3, 3, dtype=torch.float64)
    made = neighbours(x) @ weight.permute(0, 2, 3, 1).reshape(5, -1).T
    expected = torch.nn.functional.conv2d(x, weight, padding=1)
    torch.testing.assert_close(made.view(2, 4, 6, 5).permute(0, 3, 1, 2), expected)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(8, 8), (3, 5), (1, 1), (9, 9), (16, 16)])
def test_same_output_and_gradients(size, stride):
    ours, plain = pair(stride=stride)
    inputs = [features(2, 6, *size) for _ in range(2)]
    outputs = [layer(x) for layer, x in zip((ours, plain), inputs, strict=True)]
    push = torch.randn_like(outputs[0])
    for output in outputs:
        (output * push).sum().backward()
    torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=0)
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)
    torch.testing.assert_close(ours.weight.grad, plain.weight.grad)
    assert ours.weight.grad.stride() == ours.weight.stride()  # the optimiser walks through both side by side


@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_against_differences(stride):
    weight, x = features(3, 2, 3, 3, dtype=torch.float64), features(1, 2, 4, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x, weight: small_maps._Convolution.apply(x, weight, stride), (x, weight))


@pytest.mark.parametrize(("stride", "side", "used"), [(1, 8, True), (1, 9, False), (2, 16, True), (2, 17, False)])
def test_the_product_is_used_for_small_outputs_alone(stride, side, used):
    made = pair(stride=stride)[0](features(1, 6, side, side))
    assert (made.grad_fn.name() == "_ConvolutionBackward") == used


def test_under_autocast_it_computes_in_bfloat16_and_follows_its_weights():
    ours, plain = pair()
    optimiser = FusedAdam(ours.parameters(), lr=0.1)
    x = features(2, 6, 8, 8)
    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16):
            first, expected = ours(x), plain(x)
            with torch.no_grad():
                again = ours(x)
        assert first.dtype == torch.bfloat16
        assert torch.equal(first, expected) and torch.equal(again, expected)
        for layer in (ours, plain):
            layer.zero_grad()
        first.float().square().sum().backward()
        expected.float().square().sum().backward()
        assert ours.weight.grad.dtype == torch.float32
        # Sums over 128 pixels of products of bfloat16, each sum rounded to 8 bits.
        torch.testing.assert_close(ours.weight.grad, plain.weight.grad, rtol=1e-2, atol=0.05)
        optimiser.step()
        plain.load_state_dict(ours.state_dict())
